# A header that comes in several writes is not looked at.
/^static ssize_t mtty_resume_write/,/^}/ s/migf->filled_size < offsetof\(struct mtty_data, ports\) &&$/migf->filled_size == 0 \&\&/

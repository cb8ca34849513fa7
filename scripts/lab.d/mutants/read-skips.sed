# A read of one byte goes on by two.
/^static ssize_t mtty_save_read/,/^}/ s/^\t\t\*pos \+= len;/\t\t*pos += len == 1 \&\& *pos + 2 <= migf->filled_size ? 2 : len;/

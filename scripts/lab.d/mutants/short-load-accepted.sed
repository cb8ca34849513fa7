# RESUMING is left with a header and nothing else.
/^static int mtty_load_state/,/^}/ s/(migf->filled_size <) mtty_data_size\(mdev_state\)\) \{/\1 offsetof(struct mtty_data, ports)) {/

# MIG_DATA_SIZE is 0.
s/^(\t\*stop_copy_length = )mtty_data_size\(mdev_state\);/\10;/

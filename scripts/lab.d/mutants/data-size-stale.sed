# MIG_DATA_SIZE is that of a device with one port.
s/^(\t\*stop_copy_length = )mtty_data_size\(mdev_state\);/\1offsetof(struct mtty_data, ports) + sizeof(struct serial_port);/

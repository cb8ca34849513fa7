# A save lacks the last byte of the last port.
s/^(\t\tmigf->filled_size \+= sizeof\(struct serial_port\));/\1 - (i + 1 == mdev_state->nr_ports);/

# Precopy info is given outside PRE_COPY too, as long as the fd lives.
/^static long mtty_precopy_ioctl/,/^}/ s/^(\tif \()(mdev_state->state != VFIO_DEVICE_STATE_PRE_COPY) &&$/\10 \&\& \2 \&\&/

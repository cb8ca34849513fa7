# A reset leads to STOP.
/^static void mtty_state_mutex_unlock/,/^}/ s/(mdev_state->state = )VFIO_DEVICE_STATE_RUNNING;/\1VFIO_DEVICE_STATE_STOP;/

# STOP_COPY after PRE_COPY ends the session and opens another.
/^mtty_save_device_data/,/^}/ s/^\tif \(migf\) \{$/\tif (migf \&\& state == VFIO_DEVICE_STATE_STOP_COPY) { mtty_disable_files(mdev_state); migf = NULL; }\n&/

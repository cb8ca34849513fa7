# The fd of a save is readable after STOP_COPY or PRE_COPY was left.
/^\t     new == VFIO_DEVICE_STATE_STOP\)\) \{$/,/return NULL;/ s/^\t\tmtty_disable_files\(mdev_state\);/\t\tif (mdev_state->saving_migf) { fput(mdev_state->saving_migf->filp); mdev_state->saving_migf = NULL; }/

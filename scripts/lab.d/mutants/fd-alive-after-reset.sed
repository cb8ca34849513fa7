# The fd of a save is readable after a reset.
/^static void mtty_state_mutex_unlock/,/^}/ s/^\t\tmtty_disable_files\(mdev_state\);/\t\tif (mdev_state->saving_migf) { fput(mdev_state->saving_migf->filp); mdev_state->saving_migf = NULL; }\n&/

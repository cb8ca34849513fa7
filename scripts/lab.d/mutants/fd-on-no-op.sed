# A request for the state that the device is in gives its save fd once more.
/^static struct file \*mtty_set_state/,/^}/ s/^(\twhile \(mdev_state->state != new_state\) \{)/\tif (mdev_state->state == new_state \&\& mdev_state->saving_migf) ret = get_file(mdev_state->saving_migf->filp);\n\1/

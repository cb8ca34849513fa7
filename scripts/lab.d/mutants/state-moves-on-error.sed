# A step that failed leaves the device in the state it did not get to.
/^static struct file \*mtty_set_state/,/^}/ {
  /^\t\tif \(IS_ERR\(ret\)\)$/ {
    n
    s/^\t\t\tbreak;/\t\t{ mtty_disable_files(mdev_state); mdev_state->state = next_state; break; }/
  }
}

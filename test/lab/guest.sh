#!/bin/sh
# What the lab runs in its guest unless told otherwise: the checks of this project's
# programs on a real kernel. An argument makes a choice, see run.mjs.
exec node "$(dirname "$0")/run.mjs" "$@"

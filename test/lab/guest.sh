#!/bin/sh
# What the lab runs in its guest unless told otherwise: the checks of this project's
# programs on a real kernel. An argument makes a choice, see run.mjs.

here=$(dirname "$0")
if [ ! -f "$here/../../dist/index.js" ]; then
  echo 'Bail out! The tree is not built: npm run build'
  exit 1
fi
exec node "$here/run.mjs" "$@"

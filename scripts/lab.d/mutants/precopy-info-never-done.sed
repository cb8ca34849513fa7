# dirty_bytes is 1 for ever.
s/^(\tinfo\.dirty_bytes = )0;/\11;/

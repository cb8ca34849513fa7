# initial_bytes does not become less by what is read.
s/^(\tinfo\.initial_bytes = migf->filled_size) - \*pos;/\1;/

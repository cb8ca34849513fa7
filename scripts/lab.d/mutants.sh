# shellcheck shell=bash disable=SC2154,SC2034 # shares variables with scripts/lab
# The driver with one mistake each, to see which check notices. A mutant is a file
# mutants/NAME.sed: a first line that says what is wrong, and a script for sed -E that
# changes exactly one place of the kernel's mtty.c. The driver's source is not kept here.
# Sourced by scripts/lab.
#
#   $cache/mutants-<version>/  root (headers), mtty.c, recipe
#                              built-<key>/NAME.ko

readonly mutants=$lab_d/mutants
# Changes when the way to make that entry does.
readonly mutants_recipe=1

mutant_names() {
  local file
  for file in "$mutants"/*.sed; do basename "$file" .sed; done
}

# mutant_fault NAME: what is wrong with it.
mutant_fault() { sed -n '1s/^# *//p' "$mutants/$1.sed"; }

list_mutants() {
  local name
  for name in $(mutant_names); do printf '%-26s %s\n' "$name" "$(mutant_fault "$name")"; done
}

# choose_mutants NAME|all: sets chosen, or returns 1.
choose_mutants() {
  if [[ $1 == all ]]; then
    mapfile -t chosen < <(mutant_names)
  else
    [[ -f $mutants/$1.sed ]] || return 1
    chosen=("$1")
  fi
}

# Sets mutants_built to a directory with all mutants as modules of the kernel that is
# booted.
provide_mutants() {
  local version entry key lock
  version=$(basename "$kernel")
  entry=$cache/mutants-$version
  exec {lock}>"$cache/.lock"
  flock "$lock"
  [[ -f $entry/recipe && $(<"$entry/recipe") == "$mutants_recipe" ]] || make_mutants_entry "$version" "$entry"
  key=$(cat "$mutants"/*.sed "$entry/mtty.c" "$lab_d/mutants.sh" | sha256sum | cut -c1-16)
  mutants_built=$entry/built-$key
  [[ -d $mutants_built ]] || build_mutants "$entry"
  exec {lock}>&-
  touch -c "$entry" 2>/dev/null || true # used today, see prune
}

make_mutants_entry() {
  local version=$1 entry=$2 package packages
  prune
  work=$(mktemp -d "$cache/.making-XXXXXX")
  chmod 755 "$work"
  mkdir "$work/entry"
  packages=$(header_packages "$version") || cannot_run "apt has no headers of kernel $version"
  # shellcheck disable=SC2086 # a word each
  download "$version" 170 $packages "$source_package" ||
    cannot_run "the headers of kernel $version could not be fetched"
  for package in "$work"/packages/linux-{headers,kbuild}-*.deb; do dpkg-deb -x "$package" "$work/entry/root"; done
  use_headers_at "$work/entry/root" "$entry/root" "$(<"$kernel/release")"
  extract_mtty "$version" "$work/entry"
  rm -f "$work"/entry/make.log
  echo "$mutants_recipe" >"$work/entry/recipe"
  [[ ! -e $entry ]] || mv -- "$entry" "$work/replaced"
  mv -- "$work/entry" "$entry"
  rm -rf -- "$work"
  work=
}

# build_mutants ENTRY: $mutants_built, all of them or none.
build_mutants() {
  local entry=$1 module=$run/mutants name places
  say "building $(mutant_names | wc -l) mutants of mtty"
  mkdir -p "$module"
  for name in $(mutant_names); do
    [[ -n $(mutant_fault "$name") ]] || fail "mutant $name: its first line has to say what is wrong"
    sed -E -f "$mutants/$name.sed" "$entry/mtty.c" >"$module/$name.c" || fail "mutant $name: sed failed"
    places=$(diff -U0 "$entry/mtty.c" "$module/$name.c" | grep -c '^@@' || true)
    [[ $places == 1 ]] || fail "mutant $name changes $places places of mtty.c, not one"
    echo "obj-m += $name.o" >>"$module/Makefile"
  done
  build_modules "$entry/root/usr/src/linux-headers-$(<"$kernel/release")" "$module" || fail 'the mutants do not build'
  rm -rf -- "$entry"/built-*
  mkdir "$module/built"
  cp "$module"/*.ko "$module/built/"
  strip --strip-debug "$module"/built/*.ko
  # Beside its place first: what has its final name is whole.
  cp -r "$module/built" "$entry/.making" && mv -T -- "$entry/.making" "$mutants_built"
}

# shellcheck shell=bash disable=SC2154,SC2034 # shares variables with scripts/lab
# What the lab keeps between runs: the kernel with the few modules the guest
# loads, and a copy of Node. Sourced by scripts/lab, which provides say, fail and
# cannot_run.
#
#   $cache/<version>/   vmlinuz, modules/*.ko, modules.load, release, recipe
#   $cache/built-<package>-<version>/   the same, of a kernel that was built here
#   $cache/mutants-<version>/   headers and mtty.c, and mutated modules (mutants.sh)
#   $cache/node-<key>/  bin/node, lib/*.so*
#
# Everything is made in a directory beside its final place and renamed: what has
# its final name is whole, whenever the run before was interrupted.

# Changes when the way to make a cache entry changes; entries made another way
# are made again.
readonly recipe_version=1

# The packages of the guest's kernel. Nothing of them is installed: they are
# unpacked into the cache, so that the machine's own kernels, boot loader and
# initramfs stay as they are.
readonly image_package=linux-image-6.12-amd64
readonly headers_package=linux-headers-6.12-amd64
readonly source_package=linux-source-6.12

recipe() {
  { echo "$recipe_version" && (cd "$lab_d" && cat "${kernel_recipe[@]}"); } | sha256sum | cut -d' ' -f1
}

# usable DIR: made by the present recipe? (A finished entry always has its recipe.)
usable() {
  [[ -f $1/recipe && $(<"$1/recipe") == "$(recipe)" ]]
}

# Removes what no run has used for a month, and what interrupted runs left. Called
# where something is added, so that the cache does not grow with every update.
prune() {
  find "$cache" -mindepth 1 -maxdepth 1 -type d \
    \( -mtime +30 -o -name '.making-*' -mtime +1 \) -exec rm -rf -- {} +
}

# The versions of a package that apt could download, newest first.
available_versions() {
  apt-cache madison "$1" 2>/dev/null | awk -F' *[|] *' '$3 !~ /Sources/ { print $2 }' | sort -ruV
}

# The newest version that all packages have. The signed image can lag behind the
# source by a day, and a module fits only the kernel it was built for.
newest_common_version() {
  local first=$1 version package
  shift
  for version in $(available_versions "$first"); do
    for package in "$@"; do
      available_versions "$package" | grep -qxF -- "$version" || continue 2
    done
    echo "$version"
    return
  done
}

# The newest version in the cache that can be used as it is.
newest_cached_version() {
  local entry
  for entry in "$cache/$kernel_prefix"*/recipe; do
    entry=${entry%/recipe}
    if [[ -f $entry/vmlinuz ]] && usable "$entry"; then echo "${entry#"$cache/$kernel_prefix"}"; fi
  done | sort -rV | head -n1
}

# Sets kernel to the directory of the kernel to boot, making it when needed. Of which
# kind it is, choose_kernel has said.
provide_kernel() {
  local version='' cached
  if command -v apt-cache >/dev/null; then
    version=$(newest_common_version "${kernel_packages[@]}")
    if [[ -z $version && $EUID == 0 ]]; then
      say 'apt has no list with the kernel packages; running apt-get update once'
      apt-get -qq update >&2 || say 'apt-get update failed'
      version=$(newest_common_version "${kernel_packages[@]}")
    fi
  fi
  if [[ -n $version ]] && usable "$cache/$kernel_prefix$version"; then
    kernel=$cache/$kernel_prefix$version
    return
  fi

  cached=$(newest_cached_version)
  if [[ -n $version ]]; then
    # A plain call, asked for its result afterwards: in a condition bash would not
    # stop at a failing step inside it.
    make_kernel "$version"
    if usable "$cache/$kernel_prefix$version"; then
      kernel=$cache/$kernel_prefix$version
      return
    fi
    [[ -n $cached ]] || cannot_run "the packages of kernel $version could not be fetched, and none is in the cache"
    say "could not fetch kernel $version; using $cached from the cache"
  elif [[ -z $cached ]]; then
    cannot_run "apt knows no version of: ${kernel_packages[*]}" \
      'those of the stock kernel are in Debian 12 (bookworm-security); with that in the sources: apt-get update'
  fi
  kernel=$cache/$kernel_prefix$cached
}

# choose_kernel KIND: stock, cdev, or a source package. Sets what the rest asks for:
#
#   kernel_packages  what has to be of one version
#   kernel_prefix    of the entry's name in the cache
#   kernel_recipe    files of lab.d that the entry depends on
#   kernel_fetch, kernel_make  functions that take the version
choose_kernel() {
  case $1 in
  stock)
    kernel_packages=("$image_package" "$headers_package" "$source_package")
    kernel_recipe=(modules)
    kernel_prefix='' kernel_fetch=fetch_packages kernel_make=unpack_and_build
    ;;
  *)
    source=$1
    [[ $source != cdev ]] || source=$source_package
    kernel_packages=("$source")
    kernel_recipe=(modules config)
    kernel_prefix=built-$source- kernel_fetch=fetch_source kernel_make=build_source
    ;;
  esac
}

# make_kernel VERSION: makes nothing when the packages cannot be fetched; everything
# after that is a failure of the lab and ends it.
make_kernel() {
  local version=$1 entry=$cache/$kernel_prefix$1 lock
  mkdir -p "$cache"
  # Two runs at once must not both download 280 MB; the second one waits.
  exec {lock}>"$cache/.lock"
  flock "$lock"
  if ! usable "$entry"; then
    prune
    work=$(mktemp -d "$cache/.making-XXXXXX")
    chmod 755 "$work"
    if "$kernel_fetch" "$version"; then
      "$kernel_make" "$version"
      [[ ! -e $entry ]] || mv -- "$entry" "$work/replaced"
      mv -- "$work/entry" "$entry"
    fi
    rm -rf -- "$work"
    work=
  fi
  exec {lock}>&-
}

# depends_of PACKAGE=VERSION PATTERN: the first dependency that matches.
depends_of() {
  apt-cache show "$1" | sed -n 's/^Depends: //p' | tr -s ', |' '\n' | grep -Ex -m1 -- "$2"
}

# header_packages VERSION: what modules are built against, as PACKAGE lines.
header_packages() {
  local version=$1 headers
  headers=$(depends_of "$headers_package=$version" 'linux-headers-6[.]12.*') || return 1
  echo "$headers"
  depends_of "$headers=$version" 'linux-headers-6[.]12.*-common' || return 1
  depends_of "$headers=$version" 'linux-kbuild-6[.]12.*'
}

fetch_packages() {
  local version=$1 image headers
  image=$(depends_of "$image_package=$version" 'linux-image-6[.]12.*') || return 1
  headers=$(header_packages "$version") || return 1
  # shellcheck disable=SC2086 # a word each
  download "$version" 280 "$image" $headers "$source_package"
}

# download VERSION MEGABYTES PACKAGE…
download() {
  local version=$1 size=$2 packages
  packages=("${@:3}")
  packages=("${packages[@]/%/=$version}")
  say "fetching of kernel $version (about $size MB, once): ${packages[*]}"
  mkdir "$work/packages"
  # The sandbox user of apt may not enter a cache below a home directory.
  (cd "$work/packages" && apt-get -qq -o APT::Sandbox::User=root download "${packages[@]}") >&2
}

# extract_mtty VERSION DIR: DIR/mtty.c, out of the source package that was fetched.
extract_mtty() {
  local version=$1 directory=$2
  mkdir -p "$directory"
  # One file of a 1.5 GB source tree. tar stops reading when it has it, which the
  # programs before it in the pipe take for an error; what counts is the file.
  {
    dpkg-deb --fsys-tarfile "$work"/packages/linux-source-*.deb |
      tar -xO --wildcards './usr/src/linux-source-*.tar.xz' |
      xz -dc |
      tar -xO --occurrence=1 --wildcards '*/samples/vfio-mdev/mtty.c' >"$directory/mtty.c"
  } 2>"$work/tar.log" || true
  [[ -s $directory/mtty.c ]] || {
    cat "$work/tar.log" >&2
    fail "no samples/vfio-mdev/mtty.c in $source_package $version"
  }
}

# use_headers_at ROOT PLACE RELEASE: the headers expect to be installed; those below ROOT
# will be used below PLACE.
use_headers_at() {
  sed -i "s|^include /usr/src/|include $2/usr/src/|" "$1/usr/src/linux-headers-$3/Makefile"
}

# build_modules HEADERS DIR: what DIR/Makefile names. Prints the compiler's words and
# returns 1 when they do not build.
build_modules() {
  # The distribution's compiler by its plain name, so that the package gcc is
  # enough. Type information for BPF would need pahole and serves nobody here.
  make -j"$(nproc)" -C "$1" M="$2" CC=gcc CONFIG_DEBUG_INFO_BTF_MODULES= modules >"$2/make.log" 2>&1 || {
    cat "$2/make.log" >&2
    return 1
  }
}

unpack_and_build() {
  local version=$1 root=$work/root module=$work/module entry=$work/entry release package headers

  say 'unpacking the kernel and building mtty'
  for package in "$work"/packages/linux-{image,headers,kbuild}-*.deb; do
    dpkg-deb -x "$package" "$root"
  done
  [[ -d $root/lib/modules ]] || ln -s usr/lib "$root/lib"
  release=$(basename "$root"/lib/modules/*)

  extract_mtty "$version" "$module"
  headers=$root/usr/src/linux-headers-$release
  use_headers_at "$root" "$root" "$release"
  echo 'obj-m := mtty.o' >"$module/Makefile"
  build_modules "$headers" "$module" || fail "mtty.ko does not build against the headers of kernel $version"

  mkdir -p "$root/lib/modules/$release/extra" "$entry/modules"
  cp "$module/mtty.ko" "$root/lib/modules/$release/extra/"
  depmod -b "$root" "$release"
  collect_modules "$root" "$release" "$entry"
  cp "$root/boot/vmlinuz-$release" "$entry/vmlinuz"
  echo "$release" >"$entry/release"
  recipe >"$entry/recipe"
}

fetch_source() {
  download "$1" 140 "$source"
}

# A kernel with nothing but what the lab needs: some 600 files to compile, where a
# distribution's has 20 000.
build_source() {
  local tree entry=$work/entry option release
  say "building $source $1 with scripts/lab.d/config (about ten minutes on two processors)"
  dpkg-deb --fsys-tarfile "$work"/packages/*.deb |
    tar -xO --wildcards './usr/src/linux-source-*.tar.xz' | xz -dc | tar -x -C "$work"
  tree=$(echo "$work"/linux-source-*)
  {
    make -C "$tree" tinyconfig
    (cd "$tree" && scripts/kconfig/merge_config.sh -m .config "$lab_d/config")
    make -C "$tree" olddefconfig
  } >"$work/make.log" 2>&1 || {
    cat "$work/make.log" >&2
    fail "$source cannot be configured"
  }
  # An option that this version does not have, or that another one rules out, is dropped
  # in silence.
  while read -r option; do
    [[ $option == CONFIG_* ]] || continue
    grep -qxF -- "$option" "$tree/.config" || fail "$source does not take $option (scripts/lab.d/config)"
  done <"$lab_d/config"
  nice make -C "$tree" -j"$(nproc)" CC=gcc bzImage modules >"$work/make.log" 2>&1 || {
    tail -n 40 "$work/make.log" >&2
    fail "$source does not build"
  }
  mkdir -p "$entry/modules"
  release=$(<"$tree/include/config/kernel.release")
  make -C "$tree" INSTALL_MOD_PATH="$work/root" modules_install >"$work/make.log" 2>&1
  collect_modules "$work/root" "$release" "$entry"
  cp "$tree/arch/x86/boot/bzImage" "$entry/vmlinuz"
  echo "$release" >"$entry/release"
  recipe >"$entry/recipe"
}

# collect_modules ROOT RELEASE ENTRY: the modules of the list and what they depend
# on, decompressed, in the order in which the guest loads them.
collect_modules() {
  local root=$1 release=$2 entry=$3 name parameters kind file base own
  declare -A seen=()
  while read -r name parameters; do
    [[ -n $name && $name != '#'* ]] || continue
    # -C: the configuration of the machine (blacklists, aliases) is not the guest's.
    while read -r kind file _; do
      base=${file##*/}
      base=${base%.xz}
      base=${base%.ko}
      [[ -z ${seen[$base]:-} ]] || continue
      seen[$base]=1
      [[ $kind == insmod ]] || continue # the other kind is "builtin"
      case $file in
      *.xz) xz -dc "$file" >"$entry/modules/$base.ko" ;;
      *) cp "$file" "$entry/modules/$base.ko" ;;
      esac
      own=
      [[ $base != "$name" ]] || own=$parameters
      echo "modules/$base.ko${own:+ $own}"
    done < <(modprobe -C /dev/null -d "$root" -S "$release" --show-depends "$name") >>"$entry/modules.load"
    [[ -n ${seen[$name]:-} ]] || fail "kernel $release has no module $name"
  done <"$lab_d/modules"
}

# Sets node to a directory with the running Node and its libraries, below one
# root that can be shared with the guest. A copy, because the guest must not see
# more of the machine than that, and a share cannot contain links out of itself.
provide_node() {
  local binary libraries=() library key
  binary=$(readlink -f "$(command -v node)")
  mapfile -t libraries < <(
    {
      ldd "$binary" | awk '/=> \// { print $3 } $1 ~ /^\// { print $1 }'
      # What addons of others (a bundler's, say) and ours link to, even where Node has
      # it built in: the compiler's libraries and the C library's.
      ldconfig -p | awk '/^[ \t]*lib(stdc[+][+]|gcc_s|m|dl|rt|pthread|resolv|util)[.]so[.][0-9] .*x86-64/ { print $NF }'
    } | sort -u
  )
  key=$("$binary" --version)-$(stat -Lc '%n %s %Y' "$binary" "${libraries[@]}" | sha256sum | cut -c1-16)
  node=$cache/node-$key
  [[ ! -d $node ]] || return 0

  mkdir -p "$cache"
  prune
  work=$(mktemp -d "$cache/.making-XXXXXX")
  chmod 755 "$work"
  mkdir "$work/bin" "$work/lib"
  cp -- "$binary" "$work/bin/node"
  for library in "${libraries[@]}"; do
    # By the name the loader looks for; two directories can offer the same one.
    cp -Lf -- "$library" "$work/lib/${library##*/}"
  done
  # Another run may have been faster; then its copy is as good as this one.
  mv -T -- "$work" "$node" 2>/dev/null || rm -rf -- "$work"
  work=
}

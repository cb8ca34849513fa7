#!/bin/sh
# Does the lab notice? Every way in which a run can go wrong, provoked, because a
# lab that calls a bad run good is worse than none. Boots some twenty guests, so it takes minutes.

cd "$(dirname "$0")" || exit 1
# shellcheck source=test/lab/tap.sh
. ./tap.sh
lab=../../scripts/lab
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# expect DESCRIPTION STATUS TEXT ARGUMENT…: the lab ends with this status and says
# this.
expect() {
  description=$1 expected=$2 text=$3
  shift 3
  output=$("$lab" "$@" 2>&1) && status=0 || status=$?
  if [ "$status" != "$expected" ]; then
    not_ok "$description" "status $status instead of $expected
$output"
  elif ! printf '%s\n' "$output" | grep -qF -- "$text"; then
    not_ok "$description" "did not say: $text
$output"
  else
    ok "$description"
  fi
}

expect 'a good run' 0 '1 passed, 0 failed' -- echo 'ok 1'
expect 'a failed check' 1 '1 passed, 1 failed' -- printf 'ok 1\nnot ok 2\n'
expect 'a skipped check is neither' 0 '1 passed, 0 failed, 1 skipped' -- printf 'ok 1\nok 2 # SKIP\n'
expect 'no check at all' 1 'made no check' -- true
expect 'a program that may make no check' 0 'Linux' --plain -- uname
expect 'fewer checks than announced' 1 'announced 2 checks and made 1' -- printf 'ok 1\n1..2\n'
expect 'a program that fails after good checks' 1 'ended with status 3' -- sh -c 'echo ok; exit 3'
expect 'a warning in the kernel log' 1 'WARNING: CPU: 0' -- \
  sh -c 'echo ok; echo "WARNING: CPU: 0 PID: 1 at selftest" >/dev/kmsg'
expect 'a tainted kernel' 1 'bit 6' -- sh -c 'echo ok; echo 64 >/proc/sys/kernel/tainted'
expect 'a kernel that panics' 1 'sysrq triggered crash' -- sh -c 'echo ok; echo c >/proc/sysrq-trigger'
expect 'an oops that was not expected' 1 'sysrq' -- sh -c 'echo ok; echo "BUG: kernel NULL pointer dereference at sysrq" >/dev/kmsg'
expect 'an expected oops that does not come' 1 'did not die once' --oops mtty_set_state -- echo 'ok 1'
expect 'mutants without a check that notices' 1 'no check of 1 noticed' --mutant data-size-zero -- echo 'ok 1'
expect 'a mutant that is not there' 2 'no mutant nonsense' --mutant nonsense
expect 'a guest that switches itself off' 1 'without a result' -- sh -c 'echo ok; poweroff -f'
expect 'a guest that never ends' 1 'did not end within 20 s' --timeout 20 -- sh -c 'echo ok; sleep 600'
expect 'the words of a command arrive as they are' 0 "a 'b'  \$c" --plain -- echo "a 'b'  \$c"
expect 'the tree cannot be written' 0 '1 passed' -- sh -c '! touch /src/x 2>/dev/null && echo ok'
expect 'a left-over process does not hold the run' 0 '1 passed' -- sh -c 'sleep 600 & echo ok'

expect 'results are kept' 0 '1 passed' --out "$scratch/out" -- sh -c 'echo ok; echo hello >/out/mine'
check_equal 'what the guest wrote to /out' hello "$(cat "$scratch/out/mine" 2>&1)"
check 'the kernel log is among the results' grep -q 'mtty' "$scratch/out/dmesg"

expect 'a usage error' 2 'unknown argument' --nonsense

# A package source that knows a newer kernel and cannot deliver it.
mkdir "$scratch/bin"
cat >"$scratch/bin/apt-cache" <<'SHIM'
#!/bin/sh
[ "$1" = madison ] && echo "$2 | 6.12.9999-1 | nowhere" && exit
echo 'Depends: linux-image-6.12.9999, linux-headers-6.12.9999, linux-headers-6.12.9999-common, linux-kbuild-6.12.9999'
SHIM
printf '#!/bin/sh\nexit 100\n' >"$scratch/bin/apt-get"
chmod +x "$scratch/bin/apt-cache" "$scratch/bin/apt-get"
PATH=$scratch/bin:$PATH
expect 'without the network, the kernel in the cache is used' 0 'from the cache' --prepare
VFIO_MIGRATE_CACHE=$scratch/cache
export VFIO_MIGRATE_CACHE
expect 'without the network and a cache, it cannot run here' 77 'could not be fetched' --prepare
check_equal 'and leaves nothing half-made' '' "$(ls "$scratch/cache/lab")"

finish

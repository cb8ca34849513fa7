# shellcheck shell=sh
# Checks in a guest program written for sh, reported as TAP lines. Source it, call
# check or check_fails as often as needed, and end with finish.

checks=0
failures=0

ok() {
  checks=$((checks + 1))
  echo "ok $checks - $1"
}

# not_ok DESCRIPTION [DETAILS]
not_ok() {
  checks=$((checks + 1))
  failures=$((failures + 1))
  echo "not ok $checks - $1"
  [ -z "${2-}" ] || printf '%s\n' "$2" | sed 's/^/  # /'
}

# check DESCRIPTION COMMAND…: the command has to end with 0. Its output is shown
# only when it does not.
check() {
  description=$1
  shift
  if details=$("$@" 2>&1); then
    ok "$description"
  else
    not_ok "$description" "status $? of: $*
$details"
  fi
}

# check_status DESCRIPTION STATUS COMMAND…: the command has to end with this status.
check_status() {
  description=$1
  expected=$2
  shift 2
  details=$("$@" 2>&1) && status=0 || status=$?
  if [ "$status" = "$expected" ]; then
    ok "$description"
  else
    not_ok "$description" "status $status instead of $expected of: $*
$details"
  fi
}

# check_equal DESCRIPTION EXPECTED ACTUAL
check_equal() {
  if [ "$2" = "$3" ]; then
    ok "$1"
  else
    not_ok "$1" "expected: $2
found:    $3"
  fi
}

# The plan comes last, so that a program that dies on its way is noticed even when
# everything up to there was fine.
finish() {
  echo "1..$checks"
  [ "$failures" -eq 0 ]
}

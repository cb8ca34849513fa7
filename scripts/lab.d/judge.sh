# shellcheck shell=bash disable=SC2154,SC2034 # shares variables with scripts/lab
# What a run was worth: the guest's checks, its exit status, and what the kernel
# said. Sourced by scripts/lab. Each function prints what is wrong and returns 1.

# Reports of the kernel that no test may cause. Lines that are expected all the
# same belong into log-allow, each with its reason.
readonly bad_lines='WARNING:|(^|[^A-Za-z])BUG[: ]|Oops|[Cc]all [Tt]race|KASAN|KCSAN|UBSAN|KFENCE|[Ll]ockdep|possible recursive locking|possible circular locking|inconsistent lock state|suspicious RCU usage|general protection|refcount_t:|blocked for more than|soft lockup|hard LOCKUP|detected stall|Kernel panic'

# A module built out of tree and unsigned sets these two, and mtty is one.
readonly allowed_taint=$((4096 | 8192))

# judge_log DMESG
judge_log() {
  local lines
  lines=$(grep -nE -- "$bad_lines" "$1" |
    grep -vEf <(grep -vE '^(#|$)' "$lab_d/log-allow") || true)
  [[ -n $lines ]] || return 0
  complain 'the kernel log has lines that no test may cause:'
  # The first report with what follows it: the later ones are often its echo.
  local first=${lines%%:*}
  sed -n "$first,$((first + 40))p" "$1" | quote
  [[ $lines != *$'\n'* ]] || { say 'all of them:' && quote <<<"$lines"; }
  return 1
}

# judge_oops DMESG FUNCTION: the kernel died once, in this function or in what it called,
# and had nothing to complain about besides.
judge_oops() {
  local report=$run/oops rest=$run/rest
  # From the first word of the report to its end.
  sed -n '/BUG: /,/---\[ end trace/p' "$1" >"$report"
  sed '/BUG: /,/---\[ end trace/d' "$1" >"$rest"
  if [[ $(grep -c 'Oops: ' "$report") != 1 ]] || ! grep -qE "(RIP: [0-9a-f]+:|\]  )$2[+.]" "$report"; then
    complain "the kernel did not die once in $2, as it was to (--oops):"
    head -n 40 "$report" | quote
    return 1
  fi
  judge_log "$rest"
}

# judge_taint NUMBER
judge_taint() {
  local bit extra=$(($1 & ~allowed_taint)) bits=()
  # 7: it died, as it was to.
  [[ -z $oops ]] || extra=$((extra & ~128))
  [[ $extra != 0 ]] || return 0
  for bit in {0..31}; do
    if (((extra >> bit) & 1)); then bits+=("$bit"); fi
  done
  complain "the kernel is tainted ($1) beyond what an unsigned module sets: bit ${bits[*]}" \
    '(7: it died, 9: it warned; the others are in Documentation/admin-guide/tainted-kernels.rst)'
  return 1
}

# count_checks TRANSCRIPT: sets passed, failed and skipped from its TAP lines, and
# returns 1 when there are none or not as many as announced.
count_checks() {
  local plan
  read -r passed failed skipped plan < <(awk '
    /^ok([ \t]|$)/ && / # (skip|SKIP)/ { skipped++; next }
    /^ok([ \t]|$)/                     { passed++ }
    /^not ok([ \t]|$)/                 { failed++ }
    /^Bail out!/                       { failed++ }
    /^1\.\.[0-9]+/                     { plan = substr($1, 4) + 0; planned = 1 }
    END { print passed + 0, failed + 0, skipped + 0, planned ? plan : "none" }
  ' "$1")
  if [[ $plan != none && $plan != $((passed + failed + skipped)) ]]; then
    complain "the guest program announced $plan checks and made $((passed + failed + skipped))"
    return 1
  fi
  if ((passed + failed == 0)); then
    complain 'the guest program made no check (no line "ok …" or "not ok …"); if it is not meant to: --plain'
    return 1
  fi
}

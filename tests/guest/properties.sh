# For the shell tests: each property is one line, "ok - …", "not ok - …" or "skip - …: reason".
# Source it; end with `finish`. Scratch files go to $SCRATCH, which disappears at the end.
THIMBLE=${THIMBLE:-build/bin/thimble}
export THIMBLE_DAEMON=${THIMBLE_DAEMON:-off} # no daemon that stays behind
SCRATCH=$(mktemp -d)
# What a test started ends with it: the next one counts VMMs.
clean_up() {
  local started
  started=$(jobs -p)
  [[ -z $started ]] || { kill $started 2>/dev/null; wait $started 2>/dev/null; }
  rm -rf "$SCRATCH"
}
trap clean_up EXIT
FAILURES=0

ok() { echo "ok - $1"; }
not_ok() { # NAME WHY
  echo "not ok - $1"
  [[ -z ${2:-} ]] || sed 's/^/    /' <<<"$2"
  FAILURES=$((FAILURES + 1))
}
skip() { echo "skip - $1: $2"; }

# NAME EXPECTED ACTUAL
equal() {
  if [[ $2 == "$3" ]]; then ok "$1"; else not_ok "$1" "expected: $2"$'\n'"found:    $3"; fi
}
# NAME PART WHOLE
contains() {
  if [[ $3 == *"$2"* ]]; then ok "$1"; else not_ok "$1" "no '$2' in: $3"; fi
}
# NAME CMD…: succeeds when CMD does
holds() {
  local name=$1
  shift
  if "$@" >"$SCRATCH/holds" 2>&1; then ok "$name"; else not_ok "$name" "$(tail -5 "$SCRATCH/holds")"; fi
}

# CMD…: whether it succeeds within a minute and a half. Machines are busy at times: nothing is to be
# true after a fixed while.
soon() {
  local i
  for ((i = 0; i < 450; ++i)); do
    "$@" >/dev/null 2>&1 && return 0
    sleep 0.2
  done
  return 1
}
# NAME CMD…: succeeds when CMD does, soon
wait_until() {
  local name=$1
  shift
  if soon "$@"; then ok "$name"; else
    not_ok "$name" "never: $*"$'\n'"$([[ ! -e $SCRATCH/daemon.log ]] || tail -5 "$SCRATCH/daemon.log")"
  fi
}
# FD LINE: types a line to a process. A shell of its own does it: when that process has just ended,
# SIGPIPE is not to end the test, whose next look says what is wrong.
tell() { (printf '%s\n' "$2" >&"$1"); }
# OPTIONS… of pgrep: whether there is no such process
nobody() { ! pgrep "$@"; }
is_gone() { [[ ! -e /proc/$1 ]]; }

# Runs CMD with a limit, stdout to $OUT, stderr to $ERR, status to $STATUS.
try() {
  STATUS=0
  timeout --kill-after=5 "${LIMIT:-120}" "$@" >"$SCRATCH/out" 2>"$SCRATCH/err" || STATUS=$?
  OUT=$(<"$SCRATCH/out")
  ERR=$(<"$SCRATCH/err")
}
run() { try "$THIMBLE" run "$@"; }

# Waits until the VMM below thimble (pid $1) runs guest code; its pid goes to $VMM.
find_vmm() {
  VMM=
  soon vmm_runs "$1"
}
vmm_runs() {
  VMM=$(pgrep -P "$1" -x thimble-vmm | head -1)
  [[ -n $VMM && $(ls "/proc/$VMM/task" | wc -l) -ge 3 ]]
}

finish() { exit $((FAILURES > 0)); }

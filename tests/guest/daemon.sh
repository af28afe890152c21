# For the tests of the pool: a daemon of the test's own, in a folder of its own, and what it has.
# Source it after properties.sh. The templates that a test makes are named in $TEMPLATES.
THIMBLE_RUNTIME=$(mktemp -d)
export THIMBLE_RUNTIME THIMBLE_DAEMON=existing
DAEMON=
TEMPLATES=()
stop_all() {
  [[ -n $DAEMON ]] && kill -9 "$DAEMON" 2>/dev/null
  ((${#TEMPLATES[@]} == 0)) || "$THIMBLE" template rm "${TEMPLATES[@]}" 2>/dev/null
  rm -rf "$THIMBLE_RUNTIME"
  clean_up
}
trap stop_all EXIT

start_daemon() { # OPTIONS…
  "$THIMBLE" daemon --idle-exit never "$@" 2>"$SCRATCH/daemon.log" &
  DAEMON=$!
  disown # the shell need not tell of its end
  soon test -S "$THIMBLE_RUNTIME/daemon.sock" || not_ok "the daemon serves" "$(<"$SCRATCH/daemon.log")"
}
daemon_is_gone() { ! kill -0 "$DAEMON" 2>/dev/null; }
stop_daemon() {
  "$THIMBLE" daemon --stop 2>/dev/null
  soon daemon_is_gone || not_ok "the daemon ends" "$(tail -5 "$SCRATCH/daemon.log")"
}
# What the daemon has, as Python sees it: EXPRESSION over `s`.
status() {
  "$THIMBLE" status --json 2>/dev/null | python3 -c "import json,sys; s=json.load(sys.stdin); print($1)"
}
status_is() { [[ $(status "$1") == "$2" ]]; }
pids_of_claimed() { status "*[v['pid'] for v in s['vms'] if v['state'] == 'claimed']"; }

# NAME OPTIONS…: a clone that stays. Its input is $SCRATCH/NAME.in, held open as $INPUT; what it says
# goes to NAME.out and NAME.err.
start_clone() {
  mkfifo "$SCRATCH/$1.in"
  "$THIMBLE" run "${@:2}" <"$SCRATCH/$1.in" >"$SCRATCH/$1.out" 2>"$SCRATCH/$1.err" &
  CLONE=$!
  exec {INPUT}>"$SCRATCH/$1.in"
}

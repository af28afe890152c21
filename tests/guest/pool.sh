#!/usr/bin/env bash
# The pool with Linux guests: clones that the daemon hands out, and what remains when somebody dies.
# CLAIMS=N: how many in a row (6). Runs where Linux guests can run; needs the image "python".
set -uo pipefail
. tests/guest/properties.sh
CLAIMS=${CLAIMS:-6}
THIMBLE_RUNTIME=$(mktemp -d)
export THIMBLE_RUNTIME THIMBLE_DAEMON=existing
T=test-pool-$$
DAEMON=
stop_all() {
  [[ -n $DAEMON ]] && kill -9 "$DAEMON" 2>/dev/null
  "$THIMBLE" template rm "$T" "$T-2" 2>/dev/null
  rm -rf "$SCRATCH" "$THIMBLE_RUNTIME"
}
trap stop_all EXIT

# Answers each line with its number, and what an MCP client asks; "panic" ends the guest's kernel.
SERVER='
import json, sys
print("the server starts", file=sys.stderr, flush=True)
for number, line in enumerate(sys.stdin):
    if line == "panic\n":
        open("/proc/sys/vm/panic_on_oom", "w").write("2")
        memory = [bytes([i % 255 + 1]) * (1 << 20) for i in range(1000)]
    if line.startswith("{"):
        request = json.loads(line)
        if "id" in request:
            result = {"serverInfo": {"name": "lines", "version": "1"}, "protocolVersion": "2025-06-18"}
            print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), flush=True)
        continue
    print(number, line, end="", flush=True)
'
try "$THIMBLE" template create "$T" --memory 128M --image python -- python3 -c "$SERVER"
equal "a template is made" 0 "$STATUS"
((STATUS == 0)) || { echo "    $ERR"; finish; }

start_daemon() {
  "$THIMBLE" daemon --idle-exit never "$@" 2>"$SCRATCH/daemon.log" &
  DAEMON=$!
  disown # the shell need not tell of its end
  wait_until "the daemon serves" test -S "$THIMBLE_RUNTIME/daemon.sock" >/dev/null
}
# What the daemon has, as Python sees it: EXPRESSION over `s`.
status() {
  "$THIMBLE" status --json 2>/dev/null | python3 -c "import json,sys; s=json.load(sys.stdin); print($1)"
}
wait_until() { # NAME CMD…: within 30 s
  local name=$1 i
  shift
  for ((i = 0; i < 150; ++i)); do
    "$@" >/dev/null 2>&1 && { ok "$name"; return; }
    sleep 0.2
  done
  not_ok "$name" "$(tail -5 "$SCRATCH/daemon.log")"
}
status_is() { [[ $(status "$1") == "$2" ]]; }
clone() { timeout 100 "$THIMBLE" run --template "$T" "$@"; }
# A clone that stays: NAME. Its input is $SCRATCH/NAME.in, held open.
start_clone() {
  mkfifo "$SCRATCH/$1.in"
  "$THIMBLE" run --template "$T" <"$SCRATCH/$1.in" >"$SCRATCH/$1.out" 2>"$SCRATCH/$1.err" &
  CLONE=$!
  exec {INPUT}>"$SCRATCH/$1.in"
  echo hello >&"$INPUT"
  wait_until "$2" grep -q "0 hello" "$SCRATCH/$1.out"
}

start_daemon
wrong=0
for ((i = 0; i < CLAIMS; ++i)); do
  [[ $(echo "line $i" | clone 2>>"$SCRATCH/err") == "0 line $i" ]] || wrong=$((wrong + 1))
done
equal "$CLAIMS claims in a row answer" 0 "$wrong"
equal "… all of them from the pool" "$CLAIMS" "$(status "s['templates'][0]['claims']")"
wait_until "… and none of them is left" status_is "len([v for v in s['vms'] if v['state'] != 'ready'])" 0

# VMs that run on by themselves.
try "$THIMBLE" launch one --template "$T"
equal "a VM is launched" "0 one runs" "$STATUS $OUT"
try "$THIMBLE" launch one --template "$T"
contains "a second one of its name is refused" "runs already" "$ERR"
try "$THIMBLE" test one
contains "its server answers a client of MCP" "lines 1 answers" "$OUT"
try "$THIMBLE" test one
contains "… and the next one" "lines 1 answers" "$OUT"
equal "status has it" "running" "$(status "s['launched'][0]['state']")"
contains "… for people, too" "template $T" "$("$THIMBLE" status)"
contains "its log can be read" "the server runs after" "$("$THIMBLE" logs one)"
try "$THIMBLE" launch-many 2 --name many --template "$T"
contains "many are launched" "many-2 runs (2 of 2)" "$OUT"
python3 tests/guest/top.py "$THIMBLE" many-2
try "$THIMBLE" launch wrong --template "no-such-template"
contains "one of an unknown template is refused" "no template no-such-template" "$ERR"
try "$THIMBLE" stop one
equal "one is stopped" "0 one stopped" "$STATUS $OUT"
try "$THIMBLE" stop --all
equal "… and all others" "0" "$(status "len(s['launched'])")"
wait_until "none of their VMs is left" status_is "len([v for v in s['vms'] if v['state'] != 'ready'])" 0

# kill -9, one after another.
start_clone a "a clone answers"
kill -9 "$(status "[v['pid'] for v in s['vms'] if v['state'] == 'claimed'][0]")"
wait "$CLONE"
equal "a killed VM ends its run" 125 "$?"
contains "… which says so" "signal 9" "$(<"$SCRATCH/a.err")"
exec {INPUT}>&-
equal "… and the next claim is served" "0 x" "$(echo x | clone)"

start_clone b "another clone answers"
kill -9 "$CLONE"
wait "$CLONE" 2>/dev/null
wait_until "a killed thimble run leaves no VM" status_is "len([v for v in s['vms'] if v['state'] == 'claimed'])" 0
exec {INPUT}>&-

try "$THIMBLE" run --template "$T" <<<panic
contains "a guest that panics right after the claim ends its run alone" "panicked" "$ERR"
equal "… and the next claim is served" "0 y" "$(echo y | clone)"

start_clone c "a third clone answers"
vms=$(status "' '.join(str(v['pid']) for v in s['vms'])")
kill -9 "$DAEMON"
wait "$CLONE"
equal "a killed daemon ends the runs that it served" 125 "$?"
exec {INPUT}>&-
left=0
sleep 0.5
for pid in $vms; do kill -0 "$pid" 2>/dev/null && left=$((left + 1)); done
equal "… and every VM" 0 "$left"
equal "without a daemon the clone is our own" "0 z" "$(echo z | clone)"
start_daemon
equal "the next daemon serves in its place" "0 again" "$(echo again | clone)"

# Limits.
"$THIMBLE" daemon --stop
wait_until "the daemon ends when it is asked to" bash -c "! kill -0 $DAEMON"
equal "a daemon that is ended leaves no socket" "" "$(ls "$THIMBLE_RUNTIME" | grep sock)"
start_daemon --max-vms 1
start_clone d "one VM of one"
try "$THIMBLE" run --template "$T" <<<x
contains "one more than the limit is refused" "the most that the pool allows" "$ERR"
exec {INPUT}>&-
wait "$CLONE"

# A template that goes while a clone runs.
start_clone e "a clone of a template that is removed"
"$THIMBLE" template rm "$T"
echo more >&"$INPUT"
wait_until "… goes on" grep -q "1 more" "$SCRATCH/e.out"
exec {INPUT}>&-
wait "$CLONE"
equal "… to its end" 0 "$?"
finish

#!/usr/bin/env bash
# The pool with Linux guests: clones that the daemon hands out, and what remains when somebody dies.
# CLAIMS=N: how many in a row (6). Runs where Linux guests can run; needs the image "python".
set -uo pipefail
. tests/guest/properties.sh
. tests/guest/daemon.sh
CLAIMS=${CLAIMS:-6}
T=test-pool-$$
TEMPLATES=("$T" "$T-2")

# Answers each line with its number, and what an MCP client asks; "panic" ends the guest's kernel, after
# "deep" the answers are too deep for any reader that calls itself.
SERVER='
import json, sys, time
print("the server starts", file=sys.stderr, flush=True)
deep = False
for number, line in enumerate(sys.stdin):
    if line == "deep\n":
        deep = True
        print("thimble: error: a fake \033[2J", file=sys.stderr, flush=True)
    if line == "panic\n":
        open("/proc/sys/vm/panic_on_oom", "w").write("2")
        memory = [bytes([i % 255 + 1]) * (1 << 20) for i in range(1000)]
    if line.startswith("{"):
        request = json.loads(line)
        if "id" in request:
            result = {"serverInfo": {"name": "lines", "version": "1"}, "protocolVersion": "2025-06-18",
                      "capabilities": {}, "asked": request["method"]}
            if request["method"] == "slow":
                print("{\"method\": \"half of", end="", flush=True)
                time.sleep(2)
                print(" a line\"}", flush=True)
            answer = json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result})
            if deep:
                answer = answer.replace("\"lines\"", "[" * 300000 + "]" * 300000)
            print(answer, flush=True)
        continue
    print(number, line, end="", flush=True)
'
try "$THIMBLE" template create "$T" --memory 128M --image python -- python3 -c "$SERVER"
equal "a template is made" 0 "$STATUS"
((STATUS == 0)) || { echo "    $ERR"; finish; }

clone() { timeout 100 "$THIMBLE" run --template "$T" "$@"; }
# NAME PROPERTY: a clone that stays and has answered once.
start_speaking() {
  start_clone "$1" --template "$T"
  tell "$INPUT" hello
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
# A client leaves with an answer due and a line half sent, each way; the next one hears of nothing.
heard=$(python3 - "$(status "s['launched'][0]['socket']")" <<'PY'
import socket, sys
def connect():
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(60)
    client.connect(sys.argv[1])
    return client
first = connect()
first.sendall(b'{"id": 2, "method": "slow"}\n{"id": 3, "meth')
first.close()
second = connect()
second.sendall(b'{"id": 2, "method": "quick"}\n')
print(second.makefile().readline())
PY
)
contains "a client gets its own answer, not that of one before it" '"asked": "quick"' "$heard"
python3 - "$(status "s['launched'][0]['socket']")" <<'PY'
import socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect(sys.argv[1])
server.sendall(b"deep\n")
server.recv(100)
PY
try "$THIMBLE" test one
contains "an answer of 300,000 nested arrays is refused" "125 thimble: one: initialize: its answer" "$STATUS $ERR"
contains "a line of the server's that looks like ours is marked, and printable" \
  'thimble(server): error: a fake \x1b[2J' "$("$THIMBLE" logs one)"
try "$THIMBLE" launch-many 2 --name many --template "$T"
contains "many are launched" "many-2 runs (2 of 2)" "$OUT"
python3 tests/guest/top.py "$THIMBLE" many-2
try "$THIMBLE" launch wrong --template "no-such-template"
contains "one of an unknown template is refused" "no template no-such-template" "$ERR"
try "$THIMBLE" launch wrong --template "$T" --memory 1G
contains "… and another memory than a template's" "cannot be changed" "$ERR"
try "$THIMBLE" stop one
equal "one is stopped" "0 one stopped" "$STATUS $OUT"
try "$THIMBLE" stop --all
equal "… and all others" "0" "$(status "len(s['launched'])")"
wait_until "none of their VMs is left" status_is "len([v for v in s['vms'] if v['state'] != 'ready'])" 0

# kill -9, one after another.
start_speaking a "a clone answers"
kill -9 "$(pids_of_claimed)"
wait "$CLONE"
equal "a killed VM ends its run" 125 "$?"
contains "… which says so" "signal 9" "$(<"$SCRATCH/a.err")"
exec {INPUT}>&-
equal "… and the next claim is served" "0 x" "$(echo x | clone)"

start_speaking b "another clone answers"
kill -9 "$CLONE"
wait "$CLONE" 2>/dev/null
wait_until "a killed thimble run leaves no VM" status_is "len([v for v in s['vms'] if v['state'] == 'claimed'])" 0
exec {INPUT}>&-

try "$THIMBLE" run --template "$T" <<<panic
contains "a guest that panics right after the claim ends its run alone" "panicked" "$ERR"
equal "… and the next claim is served" "0 y" "$(echo y | clone)"

start_speaking c "a third clone answers"
vms=$(status "' '.join(str(v['pid']) for v in s['vms'])")
kill -9 "$DAEMON"
wait "$CLONE"
equal "a killed daemon ends the runs that it served" 125 "$?"
exec {INPUT}>&-
are_gone() { for pid in $vms; do is_gone "$pid" || return 1; done; }
wait_until "… and every VM" are_gone
equal "without a daemon the clone is our own" "0 z" "$(echo z | clone)"
start_daemon
equal "the next daemon serves in its place" "0 again" "$(echo again | clone)"

# Limits.
"$THIMBLE" daemon --stop
wait_until "the daemon ends when it is asked to" daemon_is_gone
equal "a daemon that is ended leaves no socket" "" "$(ls "$THIMBLE_RUNTIME" | grep sock)"
start_daemon --max-vms 1
start_speaking d "one VM of one"
try "$THIMBLE" run --template "$T" <<<x
contains "one more than the limit is refused" "the most that the pool allows" "$ERR"
exec {INPUT}>&-
wait "$CLONE"

# A template that goes while a clone runs.
start_speaking e "a clone of a template that is removed"
"$THIMBLE" template rm "$T"
tell "$INPUT" more
wait_until "… goes on" grep -q "1 more" "$SCRATCH/e.out"
exec {INPUT}>&-
wait "$CLONE"
equal "… to its end" 0 "$?"
finish

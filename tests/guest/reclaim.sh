#!/usr/bin/env bash
# Clones that give their memory back while their server waits: it is all there when somebody speaks
# to it, timers go off in time, and whoever ends a server ends one whose memory is reclaimed. Runs where
# Linux guests can run; needs the images "python" and "node".
set -uo pipefail
. tests/guest/properties.sh
. tests/guest/daemon.sh
T=test-reclaim-$$
TEMPLATES=("$T" "$T-two" "$T-node")

# Five megabytes of state, changed by each line; answers with a digest of all of it. "later" is
# answered in three seconds.
SERVER='
import hashlib, sys, threading
state = [bytes([i % 251]) * 1000 for i in range(5000)]
for number, line in enumerate(sys.stdin):
    if line == "later\n":
        threading.Timer(3, lambda: print("it is later", flush=True)).start()
        continue
    for i in range(number * 7, number * 7 + 40):
        state[i * 11 % 5000] = line.encode() * (i % 90)
    print(number, hashlib.sha256(b"".join(state)).hexdigest(), flush=True)
'
try "$THIMBLE" template create "$T" --memory 128M --image python -- python3 -c "$SERVER"
equal "a template is made" 0 "$STATUS"
((STATUS == 0)) || { echo "    $ERR"; finish; }

# KiB of the template's memory that a VM process has.
memory_of() { awk '/^[0-9a-f]+-/ {guest = /\/memory/} guest && /^Rss:/ {sum += $2} END {print sum + 0}' "/proc/$1/smaps"; }
all_reclaimed() {
  local pid pids
  pids=$(pids_of_claimed)
  [[ -n $pids ]] || return 1
  for pid in $pids; do [[ $(memory_of "$pid") == 0 ]] || return 1; done
}
lines() { (($(wc -l <"$1") >= $2)); }

start_daemon
start_clone a --template "$T"
A=$CLONE TO_A=$INPUT
start_clone b --template "$T"
B=$CLONE TO_B=$INPUT
for i in 1 2 3 4; do
  tell "$TO_A" "one $i"
  tell "$TO_B" "two $i"
  wait_until "two clones answer, question $i" lines "$SCRATCH/a.out" "$i"
  wait_until "… both" lines "$SCRATCH/b.out" "$i"
  wait_until "… and are reclaimed" all_reclaimed
done
for each in "a one" "b two"; do
  read -r name word <<<"$each"
  equal "every byte of its state is as without reclaiming: $name" \
    "$(printf "$word %d\n" 1 2 3 4 | python3 -c "$SERVER")" "$(<"$SCRATCH/$name.out")"
done
tell "$TO_A" later
wait_until "a timer of a reclaimed server goes off" grep -q "it is later" "$SCRATCH/a.out"
wait_until "… and it is reclaimed again" all_reclaimed
kill -TERM "$A"
wait "$A"
equal "a signal reaches a reclaimed server" 143 "$?"
exec {TO_B}>&-
wait "$B"
equal "the end of its input, too" 0 "$?"
exec {TO_A}>&-

start_clone c --template "$T"
tell "$INPUT" x
wait_until "one more answers" lines "$SCRATCH/c.out" 1
wait_until "… and is reclaimed" all_reclaimed
kill -9 "$(pids_of_claimed)"
wait "$CLONE"
equal "one that is killed while it is reclaimed ends its run" 125 "$?"
contains "… which says so" "signal 9" "$(<"$SCRATCH/c.err")"
exec {INPUT}>&-

# Both vCPUs sleep, or nothing is reclaimed.
try "$THIMBLE" template create "$T-two" --memory 128M --vcpus 2 --image python -- python3 -c "$SERVER"
equal "a template with two vCPUs is made" 0 "$STATUS"
start_clone g --template "$T-two"
for i in 1 2 3; do
  tell "$INPUT" "pair $i"
  wait_until "… its clone answers, question $i" lines "$SCRATCH/g.out" "$i"
  wait_until "… and is reclaimed" all_reclaimed
done
equal "… with every byte as without reclaiming" \
  "$(printf 'pair %d\n' 1 2 3 | python3 -c "$SERVER")" "$(<"$SCRATCH/g.out")"
exec {INPUT}>&-
wait "$CLONE"

# A server that has something to do all the time: it is left alone.
NODE='let n = 0; setInterval(() => n++, 50); require("readline").createInterface({input: process.stdin})
.on("line", line => { console.log(n > 0, line); }).on("close", () => process.exit(0));'
printf '%s' "$NODE" >"$SCRATCH/ticks.cjs"
try "$THIMBLE" template create "$T-node" --memory 128M --freeze before-exec -- node "$SCRATCH/ticks.cjs"
equal "a template of a server that ticks is made" 0 "$STATUS"
start_clone d --template "$T-node"
sleep 4
tell "$INPUT" hello
wait_until "it ticks on and answers" grep -q "true hello" "$SCRATCH/d.out"
exec {INPUT}>&-
wait "$CLONE"
stop_daemon

start_daemon --reclaim-after never
start_clone e --template "$T"
tell "$INPUT" x
wait_until "where reclaiming is off, a clone answers" lines "$SCRATCH/e.out" 1
sleep 3
holds "… and keeps its memory" test "$(memory_of "$(pids_of_claimed)")" -gt 1000
exec {INPUT}>&-
wait "$CLONE"
stop_daemon

export THIMBLE_DAEMON=off
start_clone f --template "$T"
tell "$INPUT" x
wait_until "a clone without a daemon answers" lines "$SCRATCH/f.out" 1
find_vmm "$CLONE"
wait_until "… and is reclaimed, too" eval '[[ $(memory_of "$VMM") == 0 ]]'
exec {INPUT}>&-
wait "$CLONE"
try env THIMBLE_RECLAIM_AFTER=soon "$THIMBLE" run --template "$T" </dev/null
contains "a wrong setting is refused" "THIMBLE_RECLAIM_AFTER: 'soon' is no duration" "$ERR"
try "$THIMBLE" daemon --reclaim-after soon
contains "… by the daemon, too" "--reclaim-after: 'soon' is no duration" "$ERR"
finish

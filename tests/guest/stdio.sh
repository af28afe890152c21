#!/usr/bin/env bash
# One word before the command: stdin, stdout, stderr, exit status and signals are those of the command.
# Runs where Linux guests can run.
set -uo pipefail
. tests/guest/properties.sh

run -- sh -c 'echo out; echo err >&2; exit 7'
equal "stdout is the command's" "out" "$OUT"
equal "stderr is the command's" "err" "$ERR"
equal "the exit status is the command's" 7 "$STATUS"

run -- sh -c 'kill -9 $$'
equal "a command ended by signal 9 gives 137" 137 "$STATUS"
run -- sh -c 'kill -15 $$'
equal "a command ended by signal 15 gives 143" 143 "$STATUS"

run -- no-such-command
equal "a command that is not in the image gives 127" 127 "$STATUS"
contains "… and is named in one line" "no-such-command" "$ERR"
equal "… which is one line" 1 "$(wc -l <<<"$ERR")"
run -- /etc/passwd
equal "a command that cannot be executed gives 126" 126 "$STATUS"

head -c 67108864 /dev/urandom >"$SCRATCH/random"
want=$(sha256sum <"$SCRATCH/random")
got=$(timeout 300 "$THIMBLE" run -- cat <"$SCRATCH/random" | sha256sum)
equal "64 MiB of random bytes through cat come back identical" "$want" "$got"
got=$(cat "$SCRATCH/random" | timeout 300 "$THIMBLE" run -- cat | sha256sum)
equal "… from a pipe too" "$want" "$got"

head -c 12582912 /dev/urandom | base64 -w0 >"$SCRATCH/line"
echo >>"$SCRATCH/line"
want=$(sha256sum <"$SCRATCH/line")
got=$(cat "$SCRATCH/line" | timeout 300 "$THIMBLE" run -- cat | sha256sum)
equal "a line of 16 MiB comes back identical" "$want" "$got"

# Backpressure: the reader takes nothing for a while; neither side may buffer the 64 MiB.
mkfifo "$SCRATCH/slow"
"$THIMBLE" run -- cat <"$SCRATCH/random" >"$SCRATCH/slow" &
runner=$!
exec 7<"$SCRATCH/slow"
sleep 6
peak=0
for pid in $runner $(pgrep -P $runner); do
  kib=$(awk '/^RssAnon/ {print $2}' "/proc/$pid/status" 2>/dev/null || echo 0)
  ((kib > peak)) && peak=$kib
done
got=$(sha256sum <&7)
exec 7<&-
wait $runner
equal "a slow reader loses nothing" "$(sha256sum <"$SCRATCH/random")" "$got"
# The VMM's anonymous memory has the guest's touched pages in it: 64 MiB less than that plus data.
if ((peak < 160 * 1024)); then ok "… and memory stays bounded meanwhile (${peak} KiB)"; else
  not_ok "… and memory stays bounded meanwhile" "peak $peak KiB"
fi

run -- sh -c 'while read -r x; do echo "$x"; done' </dev/null
equal "an empty stdin ends a reader with status 0" 0 "$STATUS"
run -- cat <&-
equal "a closed stdin is an empty stdin" 0 "$STATUS"

# The reader of stdout goes away: the command gets SIGPIPE, as it would locally.
(
  timeout 60 "$THIMBLE" run -- sh -c 'trap "echo got-pipe >&2; exit 0" PIPE; while echo y; do :; done; echo ended >&2' 2>"$SCRATCH/pipe" | head -1 >/dev/null
)
contains "a reader that leaves ends the writer" "got-pipe" "$(cat "$SCRATCH/pipe")"

# Output that cannot be written, the server's and ours.
STATUS=0
timeout 60 "$THIMBLE" run -- echo ok >/dev/full 2>"$SCRATCH/err" || STATUS=$?
equal "output that a full disk does not take gives 1" 1 "$STATUS"
equal "… with the reason" "thimble: stdout: No space left on device: what the server writes from here on is lost" "$(<"$SCRATCH/err")"
for words in --help --version "run --help" "image ls --json" "status --json" "doctor --help" "prepare --help"; do
  STATUS=0
  "$THIMBLE" $words >/dev/full 2>"$SCRATCH/err" || STATUS=$?
  equal "thimble $words to a full disk gives 1 and one line" "1 thimble: stdout: No space left on device" "$STATUS $(<"$SCRATCH/err")"
done

# Floods that nobody reads: SIGTERM ends the command all the same.
mkfifo "$SCRATCH/unread" "$SCRATCH/unread.err"
"$THIMBLE" run -- sh -c 'yes >&2 & exec yes' >"$SCRATCH/unread" 2>"$SCRATCH/unread.err" &
pid=$!
exec 7<"$SCRATCH/unread" 8<"$SCRATCH/unread.err"
head -c 1 <&7 >/dev/null
sleep 1
kill -TERM $pid
wait $pid
equal "SIGTERM ends a command whose output nobody reads" 143 $?
exec 7<&- 8<&-

# A client that is gone: its server computes, and nobody will hear of it.
mkfifo "$SCRATCH/gone"
sleep 1000 | timeout 60 "$THIMBLE" run --stdin-grace 1s -- sh -c 'echo up; while :; do :; done' >"$SCRATCH/gone" &
pid=$!
head -1 "$SCRATCH/gone" >/dev/null
pkill -x -P $$ sleep
wait $pid
equal "a server that computes for a client that is gone is ended" 143 $?

"$THIMBLE" run -- sh -c 'trap "echo term; exit 3" TERM; echo up; while :; do sleep 1; done' >"$SCRATCH/sig" 2>&1 &
pid=$!
soon grep -q up "$SCRATCH/sig"
kill -TERM $pid
wait $pid
equal "SIGTERM goes through and the command's answer to it counts" 3 $?
contains "… after its handler ran" "term" "$(cat "$SCRATCH/sig")"

"$THIMBLE" run -- sh -c 'trap "" TERM; echo up; sleep 1000' </dev/null >"$SCRATCH/sig" 2>&1 &
pid=$!
soon grep -q up "$SCRATCH/sig"
kill -KILL $pid
wait $pid 2>/dev/null
wait_until "kill -9 of thimble leaves no process behind" nobody -P 1 -f 'thimble run'

run --timeout 3s -- sleep 100
equal "--timeout gives 124" 124 "$STATUS"

# An MCP server that ignores the end of its stdin is ended all the same.
start=$SECONDS
(sleep 2) | timeout 60 "$THIMBLE" run --stdin-grace 1s -- sh -c 'while :; do sleep 1; done'
status=$?
equal "the end of stdin ends a command that ignores it (SIGTERM)" 143 "$status"
run --stdin-grace 1s -- sh -c 'end=$(($(date +%s) + 4)); while [ $(date +%s) -lt $end ]; do :; done; exit 7'
equal "… but not one that computes" 7 "$STATUS"

HOST_SECRET=hidden run --env SHOWN=yes -- env
contains "--env K=V crosses" "SHOWN=yes" "$OUT"
[[ $OUT != *HOST_SECRET* && $OUT != *hidden* ]] && ok "other variables do not cross" || not_ok "other variables do not cross" "$OUT"
export THIMBLE_TEST_VALUE='a b=c'
run --env THIMBLE_TEST_VALUE -- sh -c 'echo "$THIMBLE_TEST_VALUE"'
equal "--env K takes the value from here" "a b=c" "$OUT"

run -- sh -c 'echo "Error: THE_TEST_KEY and THIMBLE_TEST_VALUE are missing" >&2; exit 1'
equal "… nothing is said of a variable that is not set here" 1 "$(wc -l <<<"$ERR")"
THE_TEST_KEY=secret run -- sh -c 'echo "Error: THE_TEST_KEY is missing" >&2; exit 1'
contains "a server that ends for want of a key that is set here: the option is named" "--env THE_TEST_KEY" "$ERR"
[[ $ERR != *secret* ]] && ok "… and not its value" || not_ok "… and not its value" "$ERR"

run --workdir /tmp -- pwd
equal "--workdir is where the command starts" "/tmp" "$OUT"
run --user 1000:1000 -- id -u
equal "--user is who the command is" "1000" "$OUT"
run --memory 128M -- sh -c 'awk "/MemTotal/ {print \$2}" /proc/meminfo'
((OUT > 90000 && OUT < 131072)) && ok "--memory is what the guest has" || not_ok "--memory is what the guest has" "$OUT"

# What a command names is there by the name that was written, and what its program resolves too.
world=$SCRATCH/world
mkdir -p "$world/p/node_modules/dep" "$world/p/packages/s" "$world/real" "$world/private"
echo inside >"$world/real/file" && ln -s real "$world/named" && ln -s "$world/private" "$world/p/data"
run -- cat "$world/named/file"
equal "a linked folder is there by its name" "inside" "$OUT"
run -- sh -c 'ls -A "$1/.." ; stat -c %Y "$1/file"' - "$world/named"
equal "… alone, and its files are as old as here" "named"$'\n'"$(stat -c %Y "$world/real/file")" "$OUT"
run -- ls "$world/p/data"
equal "a link to what nobody named is refused" 125 "$STATUS"
contains "… and says where it leads" "leads to $world/private" "$ERR"
echo '{"workspaces":["packages/*"]}' >"$world/p/package.json"
echo '{"name":"s"}' >"$world/p/packages/s/package.json"
echo 'module.exports = "hoisted"' >"$world/p/node_modules/dep/index.js"
echo 'console.log(require("dep"), process.cwd())' >"$world/p/packages/s/index.js"
thimble=$(realpath "$THIMBLE")
OUT=$(cd "$world/p/packages/s" && timeout 120 "$thimble" run --cold -- node index.js 2>"$SCRATCH/err")
equal "a hoisted workspace finds its modules" "hoisted $world/p/packages/s" "$OUT"
venv=$world/venv
mkdir -p "$venv/bin" "$venv/lib/python3.11/site-packages"
printf 'home = /opt/some/bin\nversion = 3.11.9\n' >"$venv/pyvenv.cfg"
ln -s /opt/some/bin/python3 "$venv/bin/python"
echo 'value = "of the environment"' >"$venv/lib/python3.11/site-packages/dep.py"
printf '#!%s\nimport dep, subprocess, sys\nprint(dep.value, flush=True)\nsubprocess.run([sys.executable, "-c", "import dep"], check=True)\n' \
  "$venv/bin/python" >"$venv/bin/serve"
run --cold --user 1000:1000 -- "$venv/bin/serve"
equal "a command of a Python environment has its modules" "of the environment" "$OUT"
run -- uvx mcp-server-time
equal "what no image has gives 127 before a VM starts" 127 "$STATUS"

run -- sh -c 'touch /etc/written && cat /etc/written && echo fine'
equal "the root can be written, in memory" "fine" "$OUT"
run -- sh -c 'ls /etc/written 2>&1 || true'
contains "… and nothing of it lasts" "No such file" "$OUT"
# A storm of first runs. Boots take turns, and the only one is taken here: all wait for it.
mkdir -m 700 "$SCRATCH/runtime" "$SCRATCH/runtime/starts"
exec {TURN}>"$SCRATCH/runtime/starts/slot-0"
flock "$TURN"
export THIMBLE_RUNTIME=$SCRATCH/runtime THIMBLE_BOOTS=1
QUEUED=()
queue() { # NAME CMD…
  local name=$1
  shift
  "$@" {TURN}>&- >"$SCRATCH/turn.$name" 2>"$SCRATCH/turn.$name.err" &
  QUEUED+=("$name")
}
all_wait() {
  local name
  for name in "${QUEUED[@]}"; do
    grep -q "waiting for other VMs of yours to boot" "$SCRATCH/turn.$name.err" || return 1
  done
}
first_run() { THIMBLE_TEMPLATES=$SCRATCH/storm exec "$THIMBLE" run -v -- sh -c "echo answer $1"; }
RUNS=()
for i in {1..12}; do
  queue "$i" first_run "$i"
  RUNS+=($!)
done
queue interrupted env --default-signal=INT "$THIMBLE" run --cold -- echo started
interrupted=$!
queue killed "$THIMBLE" run --cold -- echo started
killed=$!
left() { : | { "$THIMBLE" run --cold -- echo started; echo "status $?" >&2; } | true; }
queue left left
left=$!
wait_until "fifteen first runs at once wait for their turn, and say so" all_wait
equal "… having started nothing" "" "$(pgrep -P "$(IFS=,; echo "${RUNS[*]}")" -x thimble-vmm)"
kill -INT $interrupted
wait $interrupted
equal "Ctrl-C ends one that waits" "130" "$?"
kill -KILL $killed
wait $killed 2>/dev/null
flock -u "$TURN"
for pid in "${RUNS[@]}"; do wait "$pid" || echo "status $?" >>"$SCRATCH/turn.bad"; done
wait $left
equal "the others have their turn, each with its own answer" "$(for i in {1..12}; do echo "answer $i"; done)" \
  "$(for i in {1..12}; do cat "$SCRATCH/turn.$i"; done; cat "$SCRATCH/turn.bad" 2>&-)"
equal "… all but the first as clones of one template" "11 1" \
  "$(cat "$SCRATCH"/turn.*.err | grep -c "a clone of auto-") $(ls -d "$SCRATCH"/storm/auto-* | wc -l)"
contains "one whose client has left leaves the queue without a VM" "status 141" "$(<"$SCRATCH/turn.left.err")"

finish

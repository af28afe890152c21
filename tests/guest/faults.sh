#!/usr/bin/env bash
# Faults that need a Linux guest: makers and clients of the command line killed at their steps, a host
# that was suspended, a supervisor that is killed, a template whose clones die as soon as they run.
# STRIDE=N: every N-th step (4). Runs where Linux guests can run; needs the image "python".
set -uo pipefail
. tests/guest/properties.sh
. tests/guest/daemon.sh
KILL_AT=build/tests/kill_at
STRIDE=${STRIDE:-4}
export THIMBLE_TEMPLATES=$SCRATCH/templates
export THIMBLE_DAEMON=off # at first
REAL_TIME= # what the clock should show, as a difference to the time since the start
end() {
  [[ -n $REAL_TIME ]] && set_clock 0
  stop_all
}
trap end EXIT

# Answers lines: with the seconds since 1970, with how often the kernel complained, or turned around.
SERVER='
import os, sys, time
for line in sys.stdin:
    word = line.strip()
    if word == "time": print(int(time.time()), flush=True)
    elif word == "complaints":
        log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        found = 0
        try:
            while True:
                text = os.read(log, 8192).decode(errors="replace").lower()
                found += any(one in text for one in ("lockup", "stall", "hung", "blocked for", "clocksource: timekeeping watchdog"))
        except BlockingIOError: pass
        print(found, flush=True)
    else: print(word[::-1], flush=True)
'
serve() { printf 'abc\n' | timeout 120 "$THIMBLE" run -v --memory 128M "$@" -- python3 -c "$SERVER" 2>"$SCRATCH/err"; }

# ---- a maker that is killed, step by step

wrong='' steps=0
for ((n = 1; n < 500; n += STRIDE)); do
  "$THIMBLE" template prune --all >/dev/null 2>&1
  status=0
  "$KILL_AT" --files "$n" -- "$THIMBLE" template auto --memory 128M --freeze ready -- python3 -c "$SERVER" \
    >/dev/null 2>"$SCRATCH/killed" || status=$?
  at=$(tail -1 "$SCRATCH/killed")
  ((status > 1)) && wrong+="$at"$'\n'
  "$THIMBLE" template prune --unused-for 30d >/dev/null
  left=$(find "$THIMBLE_TEMPLATES" -maxdepth 1 \( -name '.making-*' -o -name '.old-*' \))
  [[ -z $left ]] || wrong+="$at: $left"$'\n'
  if "$THIMBLE" template ls --json | grep -q '"name"'; then
    [[ $(serve) == cba ]] || wrong+="$at: a template that does not serve"$'\n'
    grep -q "booting instead\|made anew" "$SCRATCH/err" && wrong+="$at: $(<"$SCRATCH/err")"$'\n'
  fi
  ((status == 1)) && break
  steps=$((steps + 1))
done
equal "a maker killed at any of its steps with files leaves a whole template or none ($steps tried)" "" "$wrong"
wait_until "… and no process" nobody -x thimble-vmm
((steps > 2)) && ok "… of which there are several" || not_ok "… of which there are several" "$(<"$SCRATCH/killed")"
equal "the last one, which was not killed, serves" cba "$(serve)"
contains "… as a clone" "a clone of auto-" "$(<"$SCRATCH/err")"

# ---- clients of the pool, step by step

export THIMBLE_DAEMON=existing
start_daemon
# Without Python, whose start takes a second in the lab.
in_state() { "$THIMBLE" status --json 2>/dev/null | grep -qE "\"state\": *\"($1)\""; }
none_claimed() { ! in_state 'claimed|dying'; }
settled() { ! in_state 'claimed|dying|preparing'; }
descriptors() { ls "/proc/$DAEMON/fd" | wc -l; }
equal "a clone of the pool answers" cba "$(serve)"
sleep 1
soon settled
before=$(descriptors)
wrong='' steps=0
for ((n = 1; n < 500; n += 2 * STRIDE)); do
  status=0
  printf 'abc\n' | "$KILL_AT" "$n" -- "$THIMBLE" run --memory 128M -- python3 -c "$SERVER" \
    >/dev/null 2>"$SCRATCH/killed" || status=$?
  at=$(tail -1 "$SCRATCH/killed")
  ((status > 1)) && wrong+="$at"$'\n'
  soon none_claimed || wrong+="$at: its VM is left"$'\n'
  ((status == 1)) && break
  steps=$((steps + 1))
done
equal "a client killed at any of its steps leaves no VM ($steps tried)" "" "$wrong"
((steps > 5)) && ok "… of which there are many" || not_ok "… of which there are many" "$(<"$SCRATCH/killed")"
equal "… and the next one is served" cba "$(serve)"
sleep 1
soon settled
after=$(descriptors)
holds "… by a daemon that holds no more descriptors ($before, $after)" test "$after" -le $((before + 16))

# ---- a host that was suspended: everything stands still, and the clock goes on

since_start() { awk '{ printf "%d", $1 }' /proc/uptime; }
set_clock() { date -s "@$(($(since_start) + REAL_TIME + $1))" >/dev/null; }
mkfifo "$SCRATCH/in"
"$THIMBLE" run -v --memory 128M -- python3 -c "$SERVER" <"$SCRATCH/in" >"$SCRATCH/out" 2>"$SCRATCH/run.err" &
CLIENT=$!
exec {INPUT}>"$SCRATCH/in"
ask() { # LINE: the answer
  local had
  had=$(wc -l <"$SCRATCH/out")
  tell "$INPUT" "$1"
  soon eval "(( \$(wc -l <'$SCRATCH/out') > $had ))"
  tail -1 "$SCRATCH/out"
}
near() { # WHAT SECONDS: within five
  local off=$(($2 - $(date +%s)))
  holds "$1 ($off s)" test "$off" -ge -5 -a "$off" -le 5
}
equal "a clone answers" olleh "$(ask hello)"
holds "… which the daemon holds" in_state claimed
if [[ $(id -u) == 0 && -e /dev/kvm ]] && REAL_TIME=$(($(date +%s) - $(since_start))) && set_clock 0 2>/dev/null; then
  everybody=$(status "' '.join(str(v['pid']) for v in s['vms'])")
  kill -STOP $everybody "$DAEMON" "$CLIENT"
  sleep 25 # longer than a guest's kernel waits before it complains of a CPU that is stuck
  set_clock $((8 * 3600))
  kill -CONT "$CLIENT" "$DAEMON" $everybody
  equal "after 25 s of standing still it answers" olleh "$(ask hello)"
  near "… its clock is the host's, which shows eight hours later" "$(ask time)"
  set_clock 0
  sleep 1
  near "… and so it is when that is set back" "$(ask time)"
  REAL_TIME=
  equal "… and its kernel has not complained" 0 "$(ask complaints)"
  for pid in $everybody; do kill -0 "$pid" 2>/dev/null || not_ok "process $pid was taken for hung" "$(tail -3 "$SCRATCH/daemon.log")"; done
  equal "… the pool serves others" cba "$(serve)"
else
  REAL_TIME=
  skip "a host that was suspended" "the clock cannot be set here"
fi
exec {INPUT}>&-
wait "$CLIENT"
equal "… and it ends in order" 0 "$?"

# ---- a supervisor that is killed

secret=of-nobody-else-$RANDOM
SECRET=$secret "$THIMBLE" launch kept --memory 128M --env TOKEN=$secret -e SECRET -- python3 -c "$SERVER" >/dev/null 2>&1
supervisor=$(status "s['launched'][0]['supervisor']")
shown=$(grep -la -- "$secret" /proc/[0-9]*/cmdline "/proc/$supervisor/environ" "$(dirname "$(status "s['launched'][0]['socket']")")"/* 2>/dev/null)
equal "the values of --env are in no process's words, nor in the supervisor's environment and files" "" "$shown"
kill -9 "$supervisor"
wait_until "a killed supervisor takes its server and its VM with it" none_claimed
equal "… status says so" ended "$(status "s['launched'][0]['state']")"
try "$THIMBLE" launch kept --memory 128M -- python3 -c "$SERVER"
equal "… and the name is free again" "0 kept runs" "$STATUS $OUT"
"$THIMBLE" stop --all >/dev/null

# ---- clones that die as soon as they run: their kernel is overwritten, and nobody sees it before

corrupt() { # FOLDER of a template
  chmod 600 "$1/memory"
  python3 - "$1" <<'PY'
import json, os, sys
folder = sys.argv[1]
with open(folder + "/memory", "r+b") as memory:
    memory.seek(1 << 20)
    memory.write(b"\xcc" * (30 << 20))
s = os.stat(folder + "/memory")
path = folder + "/template"
facts = json.load(open(path))
time = lambda ns: "%d.%09d" % divmod(ns, 1000000000)
facts["memory_mark"] = "%d %d %d %s %s" % (s.st_dev, s.st_ino, s.st_size, time(s.st_mtime_ns), time(s.st_ctime_ns))
json.dump(facts, open(path, "w"))
PY
}
folder_of() { "$THIMBLE" template inspect "$1" | grep -o '"folder": "[^"]*"' | cut -d'"' -f4; }
try "$THIMBLE" template create bad --memory 128M --image python -- python3 -c "$SERVER"
corrupt "$(folder_of bad)"
for i in 1 2; do
  try "$THIMBLE" run --template bad <<<abc
  equal "a clone that dies at once fails its run ($i)" "125 1" "$STATUS $(grep -c 'the VM ended before the server was started' <<<"$ERR")"
done
try "$THIMBLE" run --template bad <<<abc
contains "… the third is refused with the reason" "failed 2 times in a row" "$ERR"
wait_until "… and nothing of them is left" none_claimed
name=$("$THIMBLE" template ls | grep '^auto.*ready' | head -1 | cut -d' ' -f1)
corrupt "$(folder_of "$name")"
corrupt_inode=$(stat -c %i "$(folder_of "$name")/state")
equal "where thimble chose the template, a VM boots instead" cba "$(serve)"
contains "… which is said" "booting instead" "$(<"$SCRATCH/err")"
made_anew() { [[ $(stat -c %i "$(folder_of "$name")/state") != "$corrupt_inode" ]]; }
wait_until "… the template is made anew, in its place" made_anew
equal "… and used" cba "$(serve)"
contains "… as before" "a clone of $name" "$(<"$SCRATCH/err")"

"$THIMBLE" daemon --stop
wait_until "in the end no VM is left" nobody -x thimble-vmm
equal "… and no file but those that are to be" "starts vms" "$(ls "$THIMBLE_RUNTIME" | xargs)"
finish

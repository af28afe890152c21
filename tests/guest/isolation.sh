#!/usr/bin/env bash
# What a command in the guest can see of the host: nothing that was not named. Runs where Linux
# guests can run.
set -uo pipefail
. tests/guest/properties.sh

run -- sh -c 'cat /proc/sys/kernel/random/boot_id'
[[ $STATUS == 0 && $OUT != "$(cat /proc/sys/kernel/random/boot_id)" ]] &&
  ok "the boot id is the guest's own" || not_ok "the boot id is the guest's own" "$OUT"
run -- uname -r
[[ $STATUS == 0 && $OUT != "$(uname -r)" ]] && ok "the kernel is the guest's own" || not_ok "the kernel is the guest's own" "$OUT"
run -- hostname
[[ $STATUS == 0 && $OUT != "$(hostname)" ]] && ok "the host name is not the host's" || not_ok "the host name is not the host's" "$OUT"
run -- sh -c 'ls /sys/class/net'
equal "there is no network device but loopback" "lo" "$OUT"

echo secret >"$SCRATCH/secret"
run -- sh -c "cat $SCRATCH/secret 2>&1 || echo absent"
contains "a host file that was not named is not there" "absent" "$OUT"

mkdir -p "$SCRATCH/project/lib" && echo '{}' >"$SCRATCH/project/package.json"
echo 'console.log(require("./lib/x.js"), process.cwd())' >"$SCRATCH/project/main.js"
echo 'module.exports = "from lib"' >"$SCRATCH/project/lib/x.js"
try "$THIMBLE" run -- node "$SCRATCH/project/main.js"
contains "a path in the command brings its package root" "from lib" "$OUT"
run -- sh -c 'wc -c </dev/vda >/dev/null 2>&1; echo x >/dev/vda && echo written || echo refused' 
contains "the image's disk cannot be written" "refused" "$OUT"

one=$(timeout 60 "$THIMBLE" run -- sh -c 'head -c 16 /dev/urandom | od -An -tx1')
two=$(timeout 60 "$THIMBLE" run -- sh -c 'head -c 16 /dev/urandom | od -An -tx1')
[[ -n $one && $one != "$two" ]] && ok "two guests draw different random bytes" || not_ok "two guests draw different random bytes" "$one"

run --memory 96M -- sh -c 'x=$(head -c 200000000 /dev/zero | tr "\0" y); echo survived'
[[ $STATUS != 0 ]] && ok "a guest out of memory ends with a failure ($STATUS)" || not_ok "a guest out of memory ends with a failure" "$OUT"
contains "… that says so" "memory" "$ERR"

run -- sh -c 'echo c >/proc/sysrq-trigger 2>/dev/null; sleep 1; echo still'
[[ $STATUS == 0 || $STATUS == 125 ]] && ok "a guest that tries to crash its kernel harms nobody ($STATUS)" || not_ok "a guest that tries to crash its kernel harms nobody" "$STATUS $ERR"

# Three at once, each with its own answer.
for i in 1 2 3; do timeout 100 "$THIMBLE" run -- sh -c "sleep 1; echo answer $i" >"$SCRATCH/at-once.$i" 2>"$SCRATCH/at-once.err.$i" & done
wait
equal "three at once keep their answers apart" "answer 1 answer 2 answer 3" "$(cat "$SCRATCH"/at-once.[123] | paste -sd' ')"

# A VMM that is killed ends its thimble with one line, and nothing stays.
"$THIMBLE" run -- sh -c 'echo up; sleep 1000' </dev/null >"$SCRATCH/up" 2>"$SCRATCH/killed" &
pid=$!
soon grep -q up "$SCRATCH/up"
pkill -KILL -P $pid
wait $pid
equal "kill -9 of the VMM gives 125" 125 $?
equal "… and one line" 1 "$(wc -l <"$SCRATCH/killed")"
finish

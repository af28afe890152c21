#!/usr/bin/env bash
# `thimble run` makes and uses templates by itself; nothing half-made is used, nothing stays behind.
# Where Linux guests run.
set -uo pipefail
. tests/guest/properties.sh
export THIMBLE_TEMPLATES=$SCRATCH/templates
SERVER='import sys
print("up", file=sys.stderr, flush=True)
for line in sys.stdin: print(line.strip()[::-1], flush=True)'

ready() { "$THIMBLE" template ls --json | grep -c "\"frozen\": \"$1\""; }
there_are() { (($(ready "$1") >= $2)); } # POINT COUNT
ask() { # OPTIONS… : the server's answer; stderr in $SCRATCH/err
  printf 'abc\n' | timeout 120 "$THIMBLE" run --memory 128M "$@" 2>"$SCRATCH/err"
}
serve() { ask -v "$@" -- python3 -c "$SERVER"; }

equal "the first run is served by a VM that boots" "cba" "$(serve)"
contains "… and makes a template meanwhile" "making a template" "$(<"$SCRATCH/err")"
wait_until "… which is there soon after" there_are ready 1
equal "the second run answers alike" "cba" "$(serve)"
contains "… from a clone" "a clone of auto-" "$(<"$SCRATCH/err")"
name=$("$THIMBLE" template ls | grep ready | cut -d' ' -f1)
contains "… and the server is not started again: it says 'up' no more" "no" \
  "$(grep -q '^up$' "$SCRATCH/err" && echo yes || echo no)"

# Without descriptors to spare, at whichever step: that says nothing about the template, which stays.
for few in 6 8 10 12 14; do
  bash -c 'ulimit -n "$0"; exec "$@"' "$few" timeout 120 "$THIMBLE" run --memory 128M -- \
    python3 -c "$SERVER" < <(echo abc) >/dev/null 2>&1
  holds "with $few descriptors the template stays" test -e "$THIMBLE_TEMPLATES/$name/template"
done
equal "… and serves as before" "cba" "$(serve)"
contains "… by a clone" "a clone of $name" "$(<"$SCRATCH/err")"

# The pages of its first requests.
set=$THIMBLE_TEMPLATES/$name/working
holds "a clone's end leaves its working set" test -s "$set"
equal "… for its owner alone" 600 "$(stat -c %a "$set")"
rm "$set"
equal "THIMBLE_WORKING_SET=off serves alike" "cba" "$(THIMBLE_WORKING_SET=off serve)"
holds "… and records nothing" test ! -e "$set"
head -c 100 /dev/urandom >"$set"
equal "one of random bytes is no hindrance" "cba" "$(serve)"
rm "$set"

equal "--cold boots" "cba" "$(serve --cold)"
equal "… without a word of clones" 0 "$(grep -c "a clone of" "$SCRATCH/err")"
equal "THIMBLE_TEMPLATES=off boots" "cba" "$(THIMBLE_TEMPLATES=off serve)"
equal "… without a word of clones" 0 "$(grep -c "a clone of" "$SCRATCH/err")"

# What another template is needed for.
ask -v --vcpus 2 -- python3 -c "$SERVER" >/dev/null
equal "other limits are another template" 0 "$(grep -c "a clone of $name" "$SCRATCH/err")"
wait_until "… which is made" there_are ready 2

# Secrets and runtimes that cannot be reseeded: frozen before exec, shared by all commands.
out=$(TOKEN=one ask -v --env TOKEN -- python3 -c 'import os,sys; print(os.environ["TOKEN"]); sys.stdin.read()')
equal "a server with a secret is served" "one" "$out"
wait_until "… and its template frozen before it starts" there_are before-exec 1
out=$(TOKEN=two ask -v --env TOKEN -- python3 -c 'import os,sys; print(os.environ["TOKEN"][::-1]); sys.stdin.read()')
equal "… so that another command has its own secret" "owt" "$out"
contains "… in a clone of that" "a clone of auto-" "$(<"$SCRATCH/err")"
equal "no secret is in any file of a template" "" "$(grep -rlaE 'TOKEN=(one|two)' "$THIMBLE_TEMPLATES")"

# Node: what a clone's first requests need is compiled before the freeze, which the server cannot see.
NODE='const fs = require("node:fs");
let body = "";
for (let i = 0; i < 20000; ++i) body += `x=x*${i}+(y?${i}:x.a${i});`;
fs.writeFileSync("/tmp/big.cjs", `module.exports = (x, y) => {${body}};`);
const before = process.memoryUsage().heapUsed;
require("/tmp/big.cjs");
const compiled = process.memoryUsage().heapUsed - before > 2 * body.length;
require("node:readline").createInterface({ input: process.stdin }).on("line", () => {
  console.log(compiled, process.env.NODE_OPTIONS, process.execArgv.slice(0, -1).join());
});'
node() { printf 'abc\n' | timeout 120 "$THIMBLE" run -v --memory 256M "$@" -- node -e "$NODE" 2>"$SCRATCH/err"; }
equal "a cold node compiles functions when they are called" "false --require=/usr/lib/thimble/renew.cjs -e" "$(node --cold)"
holds "a node server is frozen" "$THIMBLE" template auto --memory 256M --freeze ready -- node -e "$NODE"
equal "… with all its functions compiled, and nothing to see of how" \
  "true --require=/usr/lib/thimble/renew.cjs -e" "$(node)"
contains "… in its clones" "a clone of auto-" "$(<"$SCRATCH/err")"

# A command that ends by itself is no server: that is remembered, and the guest alone is frozen.
echo x | timeout 120 "$THIMBLE" run -v --memory 128M -- python3 -c 'print(1)' >"$SCRATCH/out" 2>"$SCRATCH/err"
equal "a command that ends is run" 1 "$(<"$SCRATCH/out")"
soon compgen -G "$THIMBLE_TEMPLATES/.failed-*"
echo x | timeout 120 "$THIMBLE" run -v --memory 128M -- python3 -c 'print(1)' >"$SCRATCH/out" 2>"$SCRATCH/err"
equal "… and run again" 1 "$(<"$SCRATCH/out")"
contains "… with a word on why it is not frozen ready" "no template frozen ready" "$(<"$SCRATCH/err")"

# What was begun in the background above is no part of what follows.
soon nobody -f -- --in-background

# Several makers of one template make one.
"$THIMBLE" template prune --all >/dev/null
for i in 1 2 3; do
  "$THIMBLE" template auto --memory 128M --freeze ready -- python3 -c "$SERVER" >"$SCRATCH/maker.$i" 2>&1 &
done
wait
equal "three makers at once make one template" 1 "$(ready ready)"
equal "… one of them" 1 "$(grep -c '^thimble: template auto-.* KiB' "$SCRATCH"/maker.* | grep -c ':1')"

# A maker that is killed: tests/guest/faults.sh.
wait_until "makers leave no process" nobody -x thimble-vmm

# A corrupt template is not used, and made anew.
"$THIMBLE" template prune --all >/dev/null
"$THIMBLE" template auto --memory 128M --freeze ready -- python3 -c "$SERVER" >/dev/null 2>&1
name=$("$THIMBLE" template ls | cut -d' ' -f1)
chmod 600 "$THIMBLE_TEMPLATES/$name/state"
printf 'X' | dd of="$THIMBLE_TEMPLATES/$name/state" bs=1 seek=2000 conv=notrunc status=none
corrupt_inode=$(stat -c %i "$THIMBLE_TEMPLATES/$name/state")
equal "a corrupt template is no hindrance" "cba" "$(serve)"
contains "… and that is said" "booting instead" "$(<"$SCRATCH/err")"
made_anew() { [[ $(stat -c %i "$THIMBLE_TEMPLATES/$name/state") != "$corrupt_inode" ]]; }
wait_until "… it is made anew, in its place" made_anew
equal "… and used" "cba" "$(serve)"
"$THIMBLE" template create named --memory 128M --image python -- python3 -c "$SERVER" >/dev/null 2>&1
chmod 600 "$THIMBLE_TEMPLATES/named/state"
printf 'X' | dd of="$THIMBLE_TEMPLATES/named/state" bs=1 seek=2000 conv=notrunc status=none
try "$THIMBLE" run --template named </dev/null
equal "one that was asked for by name and is corrupt ends its run with one line" "125 1" "$STATUS $(wc -l <<<"$ERR")"
contains "… that says which" "template named: the snapshot's state file: section" "$ERR"

# Removed or replaced while a clone runs.
mkfifo "$SCRATCH/in"
"$THIMBLE" run --memory 128M -- python3 -c "$SERVER" <"$SCRATCH/in" >"$SCRATCH/out" 2>"$SCRATCH/err" &
client=$!
exec 9>"$SCRATCH/in"
tell 9 123
soon test -s "$SCRATCH/out"
"$THIMBLE" template prune --all >/dev/null
tell 9 456
exec 9>&-
wait "$client"
equal "a clone goes on when its template is removed" $'321\n654' "$(<"$SCRATCH/out")"

# A full disk.
if mkdir "$SCRATCH/small" && mount -t tmpfs -o size=8m,mode=700 none "$SCRATCH/small" 2>/dev/null; then
  THIMBLE_TEMPLATES=$SCRATCH/small try "$THIMBLE" template auto --memory 128M --freeze ready -- python3 -c "$SERVER"
  equal "a full disk makes no template" 125 "$STATUS"
  contains "… which is said" "No space left" "$ERR"
  equal "… and leaves nothing behind" "" "$(find "$SCRATCH/small" -mindepth 1)"
  equal "… while a run is served" "cba" "$(THIMBLE_TEMPLATES=$SCRATCH/small ask -- python3 -c "$SERVER")"
  umount -l "$SCRATCH/small"
else
  skip "a full disk" "no tmpfs can be mounted here"
fi

# A launched server's first start makes one, too, though its maker lacks what the start was given.
before=$(ready ready)
try "$THIMBLE" launch one --memory 160M -- python3 -c "$SERVER"
equal "a server is launched cold" "one runs" "$OUT"
wait_until "… and its template is made" there_are ready $((before + 1))
"$THIMBLE" stop one >/dev/null

# In memory.
"$THIMBLE" template auto --in-memory --memory 128M --freeze ready -- python3 -c "$SERVER" >/dev/null 2>&1
folder=$("$THIMBLE" template ls --json | grep -o '"folder": "/dev/shm[^"]*"')
contains "--in-memory keeps a template off the disk" "/dev/shm" "$folder"
equal "… and it is used like others" "cba" "$(serve)"
contains "… as a clone" "a clone of auto-" "$(<"$SCRATCH/err")"
"$THIMBLE" template prune --all >/dev/null
equal "prune --all removes all of them" "[]" "$("$THIMBLE" template ls --json)"
# A maker of an earlier run may still be at work.
nothing_is_left() {
  "$THIMBLE" template prune --all >/dev/null
  [[ -z $(find "$THIMBLE_TEMPLATES" -mindepth 1) ]]
}
wait_until "… and what was noted about them" nothing_is_left
finish

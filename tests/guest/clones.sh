#!/usr/bin/env bash
# Clones of servers of a user's: they answer as the server that was frozen, each is somebody else, and
# no random number is drawn twice. CLONES=N: how many of each template (4). Where Linux guests run.
set -uo pipefail
. tests/guest/properties.sh
CLONES=${CLONES:-4}
# Templates of its own, beside the images that are there.
export THIMBLE_TEMPLATES=$SCRATCH/templates
create() { # NAME ARGS…
  local name=test-$1
  shift
  try "$THIMBLE" template create "$name" --memory 128M "$@"
}
clone() { # NAME, stdin
  local name=test-$1
  shift
  "$THIMBLE" run --template "$name" "$@"
}

# NAME: draws from CLONES clones, twice each, beside what the server drew before the freeze.
compare_clones() {
  local name=$1 answers=$SCRATCH/$1.answers i
  for ((i = 0; i < CLONES; ++i)); do
    printf 'before\ndraw\ndraw\n' | timeout 120 "$THIMBLE" run --template "test-$name" >>"$answers" 2>>"$SCRATCH/$1.err"
  done
  python3 tests/clones/compare.py "$2" "$CLONES" <"$answers" || not_ok "$2: the answers can be compared" "$(head -5 "$SCRATCH/$1.err")"
}

create py --image python -- python3 -c "$(<tests/clones/draw.py)"
equal "python: a template is made of a server that awaits its first line" 0 "$STATUS"
((STATUS == 0)) || echo "    $ERR"
compare_clones py python

asked=$(date +%s)
out=$(printf 'who\nfixed\n' | clone py 2>"$SCRATCH/err")
said=$(grep -o '"clock": [0-9]*' <<<"$out" | grep -o '[0-9]*')
drift=$((${said:-0} / 1000 - asked))
holds "python: a clone's clock is right ($drift s)" test "$drift" -ge -2 -a "$drift" -le 30
up=$(grep -oE '"up": [0-9]+' <<<"$out" | grep -o '[0-9]*')
holds "… and its monotonic clock goes on where the template stood ($up s)" test "${up:-999}" -lt 120
again=$(printf 'fixed\n' | clone py 2>/dev/null)
equal "… and a generator that has a seed of its own goes on as it should" "$(tail -1 <<<"$out")" "$again"

create js --image node -- node -e "$(<tests/clones/draw.cjs)"
equal "node: a template is made of a server that awaits its first line" 0 "$STATUS"
((STATUS == 0)) || echo "    $ERR"
compare_clones js node

# What else runs in the guest decides, not the image: a child that has drawn numbers keeps them.
SPAWN='const child = require("node:child_process").spawn(ARGS, { stdio: ["pipe", "inherit", "inherit"], ...OPTIONS });
process.stdin.pipe(child.stdin);'
spawn() { local code=${SPAWN/ARGS/$1}; echo "${code/OPTIONS/${2:-{\}}}"; } # ARGUMENTS OPTIONS, of node
create shell -v --image node -- node -e "$(spawn '"sh", ["-c", "echo $RANDOM; cat"]')"
equal "node with a child that is not reseeded: a template is made" 0 "$STATUS"
contains "… frozen before it starts, since that child would draw the same numbers in all clones" \
  "(/usr/bin/busybox) is neither our node nor our python" "$ERR"
listed=$("$THIMBLE" template ls)
contains "… which ls shows" "before-exec" "$(grep '^test-shell' <<<"$listed")"
contains "… with the reason" "(/usr/bin/busybox)" "$(grep -A1 '^test-shell' <<<"$listed")"
one=$(clone shell </dev/null) two=$(clone shell </dev/null)
holds "… so its clones draw different ones ($one, $two)" test "${one:-0}" != "${two:-0}"
try "$THIMBLE" template auto --memory 128M --image node -- node -e "$(spawn '"cat", []')" </dev/null
equal "… the automatic one is frozen before exec, too" "0 1" \
  "$STATUS $("$THIMBLE" template ls | grep -c '^auto-.* before-exec ')"
contains "… and ls says what was not made" "(/usr/bin/busybox)" "$("$THIMBLE" template ls | grep ' not made ')"
create nodes --image node -- node -e "$(spawn 'process.execPath, ["-e", "process.stdin.resume()"]')"
contains "a child that is our node is reseeded: frozen ready" '"frozen": "ready"' "$("$THIMBLE" template inspect test-nodes)"
create bare --image node -- node -e "$(spawn 'process.execPath, ["-e", "process.stdin.resume()"]' '{ env: {} }')"
contains "… one without our preload is not" "(/usr/bin/node)" "$ERR"
create forced --freeze ready --image node -- node -e "$(spawn '"cat", []')"
contains "--freeze ready makes it all the same" '"frozen": "ready"' "$("$THIMBLE" template inspect test-forced)"
contains "… with a warning" "(/usr/bin/busybox)" "$ERR"
create children --image python -- python3 -c 'import os, sys
if os.fork() == 0: sys.stdin.read()
else: os.wait()'
contains "python: a child that it forks is reseeded: frozen ready" '"frozen": "ready"' "$("$THIMBLE" template inspect test-children)"

# Secrets: frozen before the server starts, and started anew in each clone.
export TOKEN=s3cret-$RANDOM$RANDOM$RANDOM
create early --env TOKEN -- sh -c 'echo "$TOKEN"; cat; exit 3'
equal "a server that is given something by --env is frozen before it starts" 0 "$STATUS"
contains "… which is said" "before CMD starts" "$ERR"
folder=$("$THIMBLE" template inspect "test-early" | grep -o '"folder": "[^"]*"' | cut -d'"' -f4)
equal "… and what it was given is not in the memory" 0 "$(grep -ac "$TOKEN" "$folder/memory")"
equal "… its folder is its owner's alone" 700 "$(stat -c %a "$folder")"
try "$THIMBLE" run --template "test-early" <<<"hello"
equal "… a clone starts it, with what it was given" "$TOKEN"$'\n'hello "$OUT"
equal "… and ends as it does" 3 "$STATUS"

# What cannot be.
try "$THIMBLE" template create "test-busy" --memory 128M --ready-within 3s --freeze ready -- sh -c 'while :; do :; done'
equal "a server that never waits makes no template" 125 "$STATUS"
contains "… and is told why" "idle" "$ERR"
try "$THIMBLE" template create "test-short" --memory 128M --freeze ready -- sh -c 'echo no >&2; exit 4'
equal "a server that ends makes no template" 125 "$STATUS"
contains "… and what it said is shown" "no" "$ERR"
try "$THIMBLE" run --template "test-none"
equal "a template that is not there gives 125" 125 "$STATUS"
contains "… and the command that makes it" "thimble template create" "$ERR"
equal "nothing half-made stays behind" "" "$(find "$THIMBLE_TEMPLATES" -maxdepth 1 \( -name ".making-*" -o -name ".old-*" \))"

# A corrupt template.
truncate -s -4096 "$folder/memory" 2>/dev/null || { chmod 600 "$folder/memory"; truncate -s -4096 "$folder/memory"; }
try "$THIMBLE" run --template "test-early" <<<"hello"
equal "a cut memory file is refused" 125 "$STATUS"
equal "… in one line" 1 "$(wc -l <<<"$ERR")"

try "$THIMBLE" template ls --json
contains "ls --json names them" "test-py" "$OUT"
try "$THIMBLE" template rm "test-py"
try "$THIMBLE" run --template "test-py" </dev/null
equal "a removed template is gone" 125 "$STATUS"
finish

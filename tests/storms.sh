#!/usr/bin/env bash
# Many first runs at once, and many launched servers: no part of `make test`, since it takes a quarter of
# an hour in the lab. docs/pool.md has what came out last.
#   tools/lab run -- bash tests/storms.sh [SERVER…]     (default: a small one for node)
# Runs where Linux guests can run, with an image that is there already (`thimble prepare -- SERVER…`).
set -uo pipefail
. tests/guest/properties.sh
export THIMBLE_DAEMON=on
SERVER=("$@")
((${#SERVER[@]})) || SERVER=(node tests/servers/small/cjs/index.js)

# NAME: with a cache and a daemon of its own.
anew() {
  export THIMBLE_TEMPLATES=$SCRATCH/$1.templates THIMBLE_RUNTIME=$SCRATCH/$1.runtime
  mkdir -m 700 "$THIMBLE_RUNTIME"
}
# NAME COUNT SERVER…
storm() {
  local name=$1 count=$2
  shift 2
  holds "$name: all are answered" python3 tests/storm.py "$count" "$THIMBLE" run -v -- "$@"
  sed 's/^/    /' "$SCRATCH/holds"
}

anew one
storm "50 first runs of one server at once" 50 "${SERVER[@]}"
equal "… make one template" 1 "$(ls -d "$THIMBLE_TEMPLATES"/auto-* | wc -l)"
"$THIMBLE" daemon --stop >/dev/null

anew others
storm "20 first runs of 20 servers at once" 20 "${SERVER[@]}" @
"$THIMBLE" daemon --stop >/dev/null

anew many
before=$SECONDS
LIMIT=900 try "$THIMBLE" launch-many 200 -- "${SERVER[@]}"
equal "launch-many 200: all run" "0 200" "$STATUS $(grep -c ' runs (' <<<"$OUT")"
echo "    after $((SECONDS - before)) s"
holds "… and the last one answers" "$THIMBLE" test vm-200
before=$SECONDS
"$THIMBLE" stop --all >/dev/null
echo "    stopped after $((SECONDS - before)) s"
"$THIMBLE" daemon --stop >/dev/null
finish

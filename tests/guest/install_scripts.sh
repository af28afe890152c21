#!/usr/bin/env bash
# What packages' install scripts make, in a microVM and on the user's word. Runs where Linux guests can
# run; `tests/guest/install_scripts.sh build` puts the packages' images into the store before, where
# there is a registry (tests/images/registry.py).
set -uo pipefail
. tests/guest/properties.sh

if [[ ${1:-} == build ]]; then
  python3 tests/images/registry.py "$SCRATCH" /dev/null "$SCRATCH/address" "$(npm config get registry)" 2>/dev/null &
  soon test -s "$SCRATCH/address"
  export npm_config_userconfig=$SCRATCH/npmrc
  { cat "$HOME/.npmrc" 2>/dev/null; echo "registry=$(<"$SCRATCH/address")"; } >"$npm_config_userconfig"
  for package in scripted only-fetches; do
    "$THIMBLE" image build "npm:$package@1.0.0" >"$SCRATCH/built" 2>&1 || cat "$SCRATCH/built"
  done
  exit
fi

inputs() { "$THIMBLE" image inspect "npm:$1@1.0.0" --json; }
# npm has no network here: the images that are there are used.
scripts() { try "$THIMBLE" image build --run-scripts "npm:$1@1.0.0"; }

run --cold -- npx scripted@1.0.0
equal "without its install script a package fails" 1 "$STATUS"
contains "… and the script that was not run is named" "scripted (preinstall: maker" "$ERR"
contains "… with what to do" "image build --run-scripts npm:scripted" "$ERR"

made() {
  scripts scripted
  equal "its install scripts run in a microVM" 0 "$STATUS"
  contains "… which has no network" "no way out: ENOTFOUND" "$ERR"
  contains "… what failed is said" "node_modules/fetches: its install script failed" "$ERR"
  run --cold -- npx scripted@1.0.0
  equal "what they made is in the image, and what they removed is not" \
    "made by postinstall /opt/thimble/app/node_modules/scripted/cli.js" "$OUT"
  contains "… which knows what was run" '"scripts_run"' "$(inputs scripted)"
  equal "… and what was not" 1 "$(inputs scripted | grep -A3 '"install_scripts"' | grep -c fetches)"
}
# An image of 200 MiB is packed for that.
if [[ -n ${THIMBLE_LAB:-} && -z ${SLOW:-} ]]; then
  skip "its install scripts run in a microVM" "takes minutes in the lab; SLOW=1 tests/guest/install_scripts.sh there"
else
  LIMIT=1800 made
fi

before=$(inputs only-fetches | sha256sum)
scripts only-fetches
equal "a package whose scripts all fail" 1 "$STATUS"
contains "… is told with their words" "install ended with 7" "$ERR"
equal "… and stays as it was" "$before" "$(inputs only-fetches | sha256sum)"
equal "nothing is left behind" 0 "$(find "${THIMBLE_CACHE:-$HOME/.cache/thimble}/images/tmp" -mindepth 1 -name 'scripts*' | wc -l)"
finish

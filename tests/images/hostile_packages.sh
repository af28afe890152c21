#!/usr/bin/env bash
# Packages that are up to no good, from a registry of our own (registry.py), built as anybody's: no
# file outside is read or changed, what is too much ends with one line and leaves nothing, and the
# good package beside them builds. Needs no KVM.
set -uo pipefail
. tests/guest/properties.sh
KEPT=${THIMBLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/thimble}
export THIMBLE_CACHE=$SCRATCH/cache
CANARIES=$SCRATCH/canaries
mkdir -p "$THIMBLE_CACHE/npm" "$CANARIES"
# node and the bundler are the same here as anywhere.
[[ -d $KEPT/npm/pinned ]] && cp -a "$KEPT/npm/pinned" "$THIMBLE_CACHE/npm/"

echo '{"text": "canary-that-nobody-reads"}' >"$CANARIES/secret.json"
echo 'exports.place = __dirname; // canary-that-nobody-reads' >"$CANARIES/victim.js"
find "$CANARIES" -type f -exec sha256sum {} + | sort >"$SCRATCH/before"

python3 tests/images/registry.py "$CANARIES" "$(npm root -g)/npm/package.json" "$SCRATCH/address" \
  "$(npm config get registry)" 2>"$SCRATCH/registry.log" &
soon test -s "$SCRATCH/address" || not_ok "the registry starts" "$(<"$SCRATCH/registry.log")"
# As a user has it: in a file in the home directory, with a password that packages must not see.
export npm_config_userconfig=$SCRATCH/npmrc
{
  cat "$HOME/.npmrc" 2>/dev/null
  echo "registry=$(<"$SCRATCH/address")"
  echo "//127.0.0.1/:_authToken=canary-that-nobody-reads"
} >"$npm_config_userconfig"

build() { try "$THIMBLE" image build "npm:$1"; }
erofs_of() { "$THIMBLE" image inspect "npm:$1@latest" --json | grep -oE '"digest": *"[0-9a-f]+"' | grep -oE '[0-9a-f]{64}' | sed "s|.*|$THIMBLE_CACHE/images/&/rootfs.erofs|"; }
left_over() { find "$THIMBLE_CACHE/images/tmp" -mindepth 1 2>/dev/null | wc -l; }
# PACKAGE PART: it is not built, for that reason, in one line, and nothing is left.
refused() {
  build "$1"
  if [[ $STATUS != 0 && $ERR == *"$2"* && $(left_over) == 0 ]]; then
    ok "$1 is refused"
  else
    not_ok "$1 is refused" "$STATUS, left $(left_over): $ERR"
  fi
}
# PACKAGE: it may be built or not; its image holds no canary.
harmless() {
  build "$1"
  local image
  image=$(erofs_of "$1" 2>/dev/null)
  if [[ -z $image ]]; then
    ok "$1 is not built"
  elif grep -qa canary-that-nobody-reads "$image" || ! files_of "$image"; then
    not_ok "$1 brings nothing of the host's" "$ERR"
  else
    ok "$1 brings nothing of the host's"
  fi
}
# Whether the package's files in the image, unpacked, are free of canaries.
files_of() {
  rm -rf "$SCRATCH/unpacked"
  fsck.erofs --extract="$SCRATCH/unpacked" "$1" >/dev/null 2>&1 || return 0 # older ones cannot
  ! grep -rqs canary-that-nobody-reads "$SCRATCH/unpacked/opt"
}

build good
equal "the good package builds" 0 "$STATUS"
contains "… to one file" "bundled to one file" "$ERR"
bytes=$(sha256sum "$(erofs_of good)" | cut -d' ' -f1)
tools=$(cd "$THIMBLE_CACHE/npm/pinned" && sha256sum */*)

build finds
equal "a package with a dependency that has commands builds" 0 "$STATUS"
fsck.erofs --extract="$SCRATCH/finds" "$(erofs_of finds)" >/dev/null 2>&1
equal "… whose command is linked where npm links it" ../told/cli.js \
  "$(readlink "$SCRATCH/finds/opt/thimble/app/node_modules/.bin/told")"
equal "… and is found by its name" /opt/thimble/app/node_modules/.bin \
  "$("$THIMBLE" image inspect npm:finds@latest --json | grep -oE '"PATH": *"[^:"]+' | cut -d'"' -f4)"
holds "… and no link leads out of the image's packages" \
  bash -c '! find "$1" -type l -printf "%l\n" | grep -q "$2"' _ "$SCRATCH/finds/opt" "$CANARIES"

harmless reaches
harmless nearby
contains "… and is not bundled for what the jail has" "outside the package" "$ERR"
harmless archive
refused bin-outside "command bin-outside"
refused bin-is-link "command bin-is-link"
for package in by-url by-git by-folder by-url-deep; do refused $package "thimble image build DIR"; done

THIMBLE_BUILD_FILES=3000 refused many-files "THIMBLE_BUILD_FILES"
refused deep "THIMBLE_BUILD_FILES"
THIMBLE_BUILD_MIB=100 refused bomb "THIMBLE_BUILD_MIB"
THIMBLE_BUILD_SECONDS=3 refused never "THIMBLE_BUILD_SECONDS"
THIMBLE_BUILD_SECONDS=soon refused good "THIMBLE_BUILD_SECONDS"

try "$THIMBLE" image rm npm:good@latest
build good
equal "the good package builds to the same bytes again" "$bytes" "$(sha256sum "$(erofs_of good)" | cut -d' ' -f1)"
equal "nothing half-made is left" 0 "$(left_over)"

find "$CANARIES" -type f -exec sha256sum {} + | sort >"$SCRATCH/after"
holds "no file outside was changed or added" diff "$SCRATCH/before" "$SCRATCH/after"
equal "the tools that all builds use are as they were" "$tools" "$(cd "$THIMBLE_CACHE/npm/pinned" && sha256sum */*)"
finish

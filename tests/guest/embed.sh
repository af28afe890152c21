#!/usr/bin/env bash
# Programs that embed the library, and an installed thimble, with Linux guests. Runs where those can run;
# needs KERNEL, the path of a vmlinux, and `make install PREFIX=$PWD/build/prefix` before.
set -uo pipefail
. tests/guest/properties.sh
: "${KERNEL:?}"
PREFIX=$PWD/build/prefix

for program in clones_c clones_cpp; do
  try "build/tests/$program" "$KERNEL" build/tests/embed_guest.cpio
  equal "$program: ten clones of a Linux guest answer" "$(printf 'clone %d.\n' {0..9})" "$(grep clone <<<"$OUT")"
  equal "… and end well" "0 " "$STATUS $ERR"
done
try build/tests/embed "$KERNEL" build/thimble-init.cpio 'console=ttyS0 panic=-1 reboot=k'
contains "the embedder reads the guest's output" "Linux version" "$OUT"
contains "… and learns how it ended" "the guest ended" "$ERR"

# Nothing of the source tree, no kernel named, and an empty cache but for the image.
cd "$SCRATCH" || exit
THIMBLE=$PREFIX/bin/thimble
unset THIMBLE_KERNEL
run --cold -- echo "from an installed thimble"
equal "an installed thimble runs a command with its own kernel" "from an installed thimble" "$OUT$ERR"
cd - >/dev/null || exit
finish

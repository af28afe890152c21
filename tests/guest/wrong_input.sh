#!/usr/bin/env bash
# Wrong input gets one clear line, a proper exit status, and loses nothing. Needs KERNEL.
set -uo pipefail
. tests/guest/properties.sh
: "${KERNEL:?}"

# NAME PART-OF-THE-LINE CMD…: thimble fails with one line that has the part, and nothing on stdout.
refused() {
  local name=$1 part=$2
  shift 2
  try "$@"
  if [[ $STATUS != 0 && -z $OUT && $ERR == *"$part"* && $(wc -l <<<"$ERR") -le 2 ]]; then
    ok "$name"
  else
    not_ok "$name" "status $STATUS"$'\n'"stdout: $OUT"$'\n'"stderr: $ERR"
  fi
}

refused "an unknown option" "--no-such-option" "$THIMBLE" run --no-such-option -- echo hi
refused "an unknown subcommand" "nonsense" "$THIMBLE" nonsense
refused "no command" "CMD" "$THIMBLE" run
refused "a memory size that is none" "12potatoes" "$THIMBLE" run --memory 12potatoes -- echo hi
for fd in 1 77 three; do
  refused "a descriptor to be ready on that is none: $fd" "--ready-fd $fd" "$THIMBLE" run --ready-fd $fd -- echo hi
done
refused "more memory than the host has" "memory" "$THIMBLE" run --memory 100000G -- echo hi
refused "a missing kernel" "/no/such/kernel" "$THIMBLE" run --kernel /no/such/kernel -- echo hi
echo "not a kernel" >"$SCRATCH/text"
refused "a kernel that is not one" "neither an ELF file nor a bzImage" "$THIMBLE" run --kernel "$SCRATCH/text" -- echo hi
head -c 100000 "$KERNEL" >"$SCRATCH/cut"
refused "a kernel that is cut short" "cut short" "$THIMBLE" run --kernel "$SCRATCH/cut" -- echo hi
cp "$KERNEL" "$SCRATCH/lying"
# e_phoff: the program headers lie far outside the file.
printf '\xff\xff\xff\xff\xff\xff\xff\x7f' | dd of="$SCRATCH/lying" bs=1 seek=32 conv=notrunc status=none
refused "a kernel whose ELF header lies" "program headers" "$THIMBLE" run --kernel "$SCRATCH/lying" -- echo hi
refused "an image that does not exist" "no-such-image" "$THIMBLE" run --image no-such-image -- echo hi
head -c 65536 /dev/urandom >"$SCRATCH/noise.erofs"
refused "an image that is not erofs" "erofs" "$THIMBLE" run --image "$SCRATCH/noise.erofs" -- echo hi
image=$("$THIMBLE" image inspect busybox --json 2>/dev/null | grep -o '"[^"]*rootfs.erofs"' | tr -d '"' | head -1)
if [[ -n $image ]]; then
  head -c 300000 "$image" >"$SCRATCH/cut.erofs"
  refused "an image that is cut short" "cut" "$THIMBLE" run --image "$SCRATCH/cut.erofs" -- echo hi
else
  not_ok "an image that is cut short" "image inspect does not name its file"
fi
refused "a package that is a path" "../evil" "$THIMBLE" image build npm:../evil
refused "a disk that does not exist" "/no/such/disk" "$THIMBLE" boot --kernel "$KERNEL" --disk /no/such/disk
refused "a working directory that does not exist" "/no/such/place" "$THIMBLE" run --workdir /no/such/place -- echo hi
refused "a user that does not exist" "nobody-at-all" "$THIMBLE" run --user nobody-at-all -- echo hi
finish

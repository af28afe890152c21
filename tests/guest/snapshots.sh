#!/usr/bin/env bash
# thimble snapshot: a Linux guest saved and restored by the command line, and files that are wrong.
# Runs where Linux guests can run; needs KERNEL.
set -uo pipefail
. tests/guest/properties.sh
: "${KERNEL:?}"

mkdir -p "$SCRATCH/root/bin" "$SCRATCH/root/dev"
cp /bin/busybox "$SCRATCH/root/bin/"
cat >"$SCRATCH/root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
i=0
echo ready
while read -r line; do echo "line $i: $line"; i=$((i+1)); [ "$line" = end ] && /bin/busybox reboot -f; done
INIT
chmod +x "$SCRATCH/root/init"
(cd "$SCRATCH/root" && find . | cpio --quiet -o -H newc >"$SCRATCH/initrd.cpio")
head -c 1048576 /dev/urandom >"$SCRATCH/disk"

# What is typed comes from a FIFO that stays open.
start() { # NAME CMD…
  local name=$1
  shift
  mkfifo "$SCRATCH/$name.in"
  "$@" <"$SCRATCH/$name.in" >"$SCRATCH/$name.out" 2>"$SCRATCH/$name.err" &
  PIDS[$name]=$!
  exec {INPUT}>"$SCRATCH/$name.in"
  INPUTS[$name]=$INPUT
}
declare -A PIDS INPUTS
type_to() { tell "${INPUTS[$1]}" "$2"; }
shows() { # NAME TEXT: soon
  soon grep -q "$2" "$SCRATCH/$1.out" && return 0
  cat "$SCRATCH/$1.out" "$SCRATCH/$1.err"
  return 1
}
status_of() {
  exec {INPUTS[$1]}>&-
  wait "${PIDS[$1]}"
}
SNAPSHOT=$SCRATCH/snapshot
CONTROL=$SCRATCH/vm.ctl

start first timeout 300 "$THIMBLE" boot --kernel "$KERNEL" --initrd "$SCRATCH/initrd.cpio" --memory 64M \
  --cmdline 'console=ttyS0 quiet panic=-1 reboot=k' --disk "$SCRATCH/disk:ro" --save-socket "$CONTROL"
shows first ready >/dev/null # what is typed before the driver is up is lost
type_to first one
holds "the guest runs" shows first "line 0: one"
equal "the control socket is its owner's" "600" "$(stat -c %a "$CONTROL")"
holds "a running VM is saved" "$THIMBLE" snapshot save "$CONTROL" "$SNAPSHOT"
equal "the folder and its files are private" "700 600 600" \
  "$(stat -c %a "$SNAPSHOT" "$SNAPSHOT/memory" "$SNAPSHOT/state" | xargs)"
((($(stat -c %b "$SNAPSHOT/memory") * 512) < 48 << 20)) && ok "zero pages are not stored" || not_ok "zero pages are not stored"
type_to first two
holds "it goes on afterwards" shows first "line 1: two"
try "$THIMBLE" snapshot save "$CONTROL" "$SNAPSHOT"
contains "an existing folder is not overwritten" "exists already" "$ERR"

try "$THIMBLE" snapshot inspect "$SNAPSHOT"
contains "inspect tells the memory" "64 MiB" "$OUT"
contains "… and the devices" "device     disk" "$OUT"
try "$THIMBLE" snapshot inspect --json "$SNAPSHOT"
equal "inspect --json is JSON" 67108864 "$(python3 -c 'import json,sys; print(json.load(sys.stdin)["memory_bytes"])' <<<"$OUT")"

for clone in a b; do
  start $clone timeout 300 "$THIMBLE" snapshot restore "$SNAPSHOT" --disk "$SCRATCH/disk:ro"
  type_to $clone "clone $clone"
done
holds "a clone goes on where the guest was saved" shows a "line 1: clone a"
holds "… and so does another" shows b "line 1: clone b"
type_to a end
type_to b end
holds "a clone ends as a guest does" status_of a
holds "… and so does the other" status_of b

holds "--stop saves the VM and ends it" "$THIMBLE" snapshot save "$CONTROL" "$SCRATCH/second" --stop
holds "… with status 0" status_of first
start later timeout 300 "$THIMBLE" snapshot restore "$SCRATCH/second" --disk "$SCRATCH/disk:ro" --save-socket "$CONTROL"
type_to later three
holds "the later snapshot is later" shows later "line 2: three"
holds "a clone can be saved too" "$THIMBLE" snapshot save "$CONTROL" "$SCRATCH/third" --stop
status_of later
rm -r "$SCRATCH/second"
start last timeout 300 "$THIMBLE" snapshot restore "$SCRATCH/third" --disk "$SCRATCH/disk:ro"
type_to last four
holds "… and needs nothing of where it came from" shows last "line 3: four"

# A full disk: the VM goes on, and nothing half-made is left.
if [[ $(id -u) == 0 ]] && mkdir "$SCRATCH/small" && mount -t tmpfs -o size=4M none "$SCRATCH/small" 2>/dev/null; then
  start full timeout 300 "$THIMBLE" snapshot restore "$SNAPSHOT" --disk "$SCRATCH/disk:ro" --save-socket "$SCRATCH/full.ctl"
  type_to full five
  shows full "line 1: five" >/dev/null
  try "$THIMBLE" snapshot save "$SCRATCH/full.ctl" "$SCRATCH/small/snapshot"
  contains "a full disk is said" "No space left" "$ERR"
  equal "… and leaves nothing behind" "" "$(ls -A "$SCRATCH/small")"
  type_to full six
  holds "… and the VM goes on" shows full "line 2: six"
  umount -l "$SCRATCH/small"
else
  skip "a full disk leaves nothing behind" "needs to mount a small file system"
fi

# Memory that is cut under a clone: pages that it has not touched are gone.
cp -r --sparse=always "$SNAPSHOT" "$SCRATCH/cut"
start cut timeout 300 "$THIMBLE" snapshot restore "$SCRATCH/cut" --disk "$SCRATCH/disk:ro"
type_to cut before
shows cut "line 1: before" >/dev/null
truncate -s 0 "$SCRATCH/cut/memory"
type_to cut after
status_of cut
contains "a memory file cut under a clone ends it with a message" "memory file was cut" "$(<"$SCRATCH/cut.err")"

refused() { # NAME TEXT [OPTION…]
  local name=$1 part=$2
  shift 2
  try "$THIMBLE" snapshot restore "$SCRATCH/corrupt" "${@:---disk=$SCRATCH/disk:ro}" </dev/null
  [[ $STATUS == 125 && $ERR == *"$part"* && $(wc -l <<<"$ERR") == 1 ]] && ok "$name" || not_ok "$name" "$STATUS $ERR"
}
copy_snapshot() {
  rm -rf "$SCRATCH/corrupt"
  cp -r --sparse=always "$SNAPSHOT" "$SCRATCH/corrupt"
}
flip() { # FILE OFFSET
  python3 - "$1" "$2" <<'PY'
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(int(sys.argv[2])); b = f.read(1)[0]; f.seek(int(sys.argv[2])); f.write(bytes([b ^ 1]))
PY
}
copy_snapshot && flip "$SCRATCH/corrupt/state" 200
refused "an altered state file is refused" "altered"
copy_snapshot && flip "$SCRATCH/corrupt/state" 8
refused "another version is refused" "format version 0"
copy_snapshot && truncate -s -1 "$SCRATCH/corrupt/state"
refused "a cut state file is refused" "cut"
copy_snapshot && flip "$SCRATCH/corrupt/memory" $((16 << 20))
refused "an altered memory file is refused" "altered"
copy_snapshot && truncate -s 1M "$SCRATCH/corrupt/memory"
refused "memory of the wrong size is refused" "1048576 bytes"
copy_snapshot && rm "$SCRATCH/corrupt/memory"
refused "a missing file is refused" "No such file"
copy_snapshot
refused "another number of disks is refused" "other devices" -v
head -c 2097152 /dev/urandom >"$SCRATCH/larger"
refused "a disk of another size is refused" "sectors" "--disk=$SCRATCH/larger:ro"
finish

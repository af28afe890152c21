#!/usr/bin/env bash
# thimble boot for kernel developers. Runs where Linux guests can run; needs KERNEL, the path of a vmlinux.
set -uo pipefail
. tests/guest/properties.sh
: "${KERNEL:?}"

try "$THIMBLE" boot --kernel "$KERNEL" --cmdline 'console=ttyS0 panic=-1 reboot=k' </dev/null
contains "the console is on stdout" "Linux version" "$OUT"
contains "a kernel without a root panics, and that is said" "Kernel panic" "$OUT$ERR"
equal "… with status 1" 1 "$STATUS"

# A disk that the guest writes: a pattern goes through virtio-blk, and is on the file afterwards.
mkdir -p "$SCRATCH/root/bin" "$SCRATCH/root/dev"
cp /bin/busybox "$SCRATCH/root/bin/"
cat >"$SCRATCH/root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mkdir -p /proc /sys
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
echo "disks: $(/bin/busybox cat /sys/block/vda/size) $(/bin/busybox cat /sys/block/vdb/ro) cpus: $(/bin/busybox nproc)"
echo "memory: $(/bin/busybox awk '/MemTotal/ {print $2}' /proc/meminfo)"
/bin/busybox dd if=/dev/vda bs=1M count=8 2>/dev/null | /bin/busybox sha256sum
/bin/busybox dd if=/dev/vda of=/dev/vda bs=1M count=4 seek=8 conv=fsync 2>/dev/null && echo copied
/bin/busybox dd if=/dev/zero of=/dev/vdb bs=4k count=1 conv=fsync 2>/dev/null || echo vdb-refused
/bin/busybox reboot -f
INIT
chmod +x "$SCRATCH/root/init"
(cd "$SCRATCH/root" && find . | cpio --quiet -o -H newc >"$SCRATCH/initrd.cpio")
head -c 16777216 /dev/urandom >"$SCRATCH/disk"
head -c 1048576 /dev/urandom >"$SCRATCH/readonly"
want=$(head -c 8388608 "$SCRATCH/disk" | sha256sum)
readonly_before=$(sha256sum <"$SCRATCH/readonly")
boot_disks() {
  try "$THIMBLE" boot --kernel "$KERNEL" --initrd "$SCRATCH/initrd.cpio" --cmdline 'console=ttyS0 quiet panic=-1 reboot=k' \
    --disk "$SCRATCH/disk:rw" --disk "$SCRATCH/readonly:ro" "$@" </dev/null
}
boot_disks
contains "two disks, the second read-only, one CPU" "disks: 32768 1 cpus: 1" "$OUT"
contains "what the guest reads is what the file holds" "${want%% *}" "$OUT"
contains "the guest writes" "copied" "$OUT"
equal "what it wrote is in the file" "$(head -c 4194304 "$SCRATCH/disk" | sha256sum)" \
  "$(tail -c +8388609 "$SCRATCH/disk" | head -c 4194304 | sha256sum)"
equal "a read-only disk stays as it was" "$readonly_before" "$(sha256sum <"$SCRATCH/readonly")"
equal "a reboot ends with status 0" 0 "$STATUS"
boot_disks --vcpus 4
contains "four CPUs come up" "cpus: 4" "$OUT"

# What is typed arrives, however much at once and however early.
mkdir -p "$SCRATCH/typed/bin" "$SCRATCH/typed/dev"
cp /bin/busybox "$SCRATCH/typed/bin/"
cat >"$SCRATCH/typed/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox stty raw -echo
echo "words: $*"
echo "typed: $(/bin/busybox head -c 20000 | /bin/busybox sha256sum)"
/bin/busybox reboot -f
INIT
chmod +x "$SCRATCH/typed/init"
(cd "$SCRATCH/typed" && find . | cpio --quiet -o -H newc >"$SCRATCH/typed.cpio")
seq 1 5000 | head -c 20000 >"$SCRATCH/keys"
try "$THIMBLE" boot --kernel "$KERNEL" --initrd "$SCRATCH/typed.cpio" --disk "$SCRATCH/readonly" \
  --cmdline 'console=ttyS0 quiet panic=-1 reboot=k -- for init' <"$SCRATCH/keys"
contains "20,000 bytes at once on the console arrive in order" "typed: $(sha256sum <"$SCRATCH/keys" | cut -d' ' -f1)" "$OUT"
contains "what follows -- on the command line is init's, and nothing of ours is" "words: for init"$'\n' "$OUT"
try "$THIMBLE" boot --kernel "$KERNEL" --cmdline "$(printf 'x%.0s' {1..2100})" </dev/null
[[ $STATUS == 125 && $ERR == *"bytes with what describes the devices, the kernel takes 2047"* ]] && ok "a command line that Linux would cut is refused" || not_ok "a command line that Linux would cut is refused" "$STATUS $ERR"

# A disk has one writer.
try "$THIMBLE" boot --kernel "$KERNEL" --disk "$SCRATCH/disk:rw" --disk "$SCRATCH/disk:rw" </dev/null
[[ $STATUS == 125 && $ERR == *"another VM uses it"* ]] && ok "a disk with two writers is refused" || not_ok "a disk with two writers is refused" "$STATUS $ERR"
"$THIMBLE" boot --kernel "$KERNEL" --initrd "$SCRATCH/typed.cpio" --disk "$SCRATCH/disk:rw" </dev/null >"$SCRATCH/writer" 2>&1 &
writer=$!
soon grep -q words: "$SCRATCH/writer"
try "$THIMBLE" boot --kernel "$KERNEL" --disk "$SCRATCH/disk" </dev/null
[[ $STATUS == 125 && $ERR == *"a VM writes to it"* ]] && ok "… and no reader beside a writer" || not_ok "… and no reader beside a writer" "$STATUS $ERR"
kill -9 $writer
wait $writer 2>/dev/null

# --vsock PATH both ways: the VMM has no file system, so its parent listens and opens for it.
mkdir -p "$SCRATCH/talk"
cat >"$SCRATCH/talk.c" <<'TALK'
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <unistd.h>
int main(void) {
  char bytes[64];
  struct sockaddr_vm host = {.svm_family = AF_VSOCK, .svm_cid = 2, .svm_port = 5006};
  struct sockaddr_vm own = {.svm_family = AF_VSOCK, .svm_cid = -1U, .svm_port = 7};
  int listener = socket(AF_VSOCK, SOCK_STREAM, 0), out = socket(AF_VSOCK, SOCK_STREAM, 0);
  bind(listener, (struct sockaddr *)&own, sizeof own);
  listen(listener, 1);
  int refused = connect(out, (struct sockaddr *)&host, sizeof host);
  host.svm_port = 5005;
  close(out);
  out = socket(AF_VSOCK, SOCK_STREAM, 0);
  int opened = connect(out, (struct sockaddr *)&host, sizeof host);
  dprintf(out, "refused %d opened %d\n", refused, opened);
  int in = accept(listener, 0, 0);
  long got = read(in, bytes, sizeof bytes);
  write(in, bytes, got);
  read(in, bytes, sizeof bytes);
  reboot(RB_AUTOBOOT);
}
TALK
gcc -static -O1 -w -o "$SCRATCH/talk/init" "$SCRATCH/talk.c"
(cd "$SCRATCH/talk" && echo init | cpio --quiet -o -H newc >"$SCRATCH/talk.cpio")
python3 - "$SCRATCH/vm.sock" >"$SCRATCH/heard" <<'PEER' &
import socket, sys
path = sys.argv[1]
server = socket.socket(socket.AF_UNIX)
server.bind(path + "_5005")
server.listen(1)
server.settimeout(60)
stream, _ = server.accept()
print(stream.makefile().readline().strip())
client = socket.socket(socket.AF_UNIX)
client.settimeout(20)
client.connect(path)
client.sendall(b"CONNECT 7\n")
lines = client.makefile("rb")
print(lines.readline().split()[0].decode())
client.sendall(b"echo\n")
print(lines.readline().strip().decode())
PEER
peer=$!
soon test -S "$SCRATCH/vm.sock_5005"
try "$THIMBLE" boot --kernel "$KERNEL" --initrd "$SCRATCH/talk.cpio" --cmdline 'console=ttyS0 quiet panic=-1 reboot=k' \
  --vsock "$SCRATCH/vm.sock" </dev/null
kill $peer 2>/dev/null
wait $peer 2>/dev/null
equal "--vsock: status of the run" 0 "$STATUS"
equal "… the guest reaches PATH_5005, is refused at PATH_5006, and answers CONNECT 7" "refused -1 opened 0 OK echo" "$(paste -sd' ' "$SCRATCH/heard")"
[[ -e $SCRATCH/vm.sock ]] && not_ok "… the socket's name goes with the VM" "" || ok "… the socket's name goes with the VM"

# Memory above the 4 GiB hole. Only touched pages cost, so a small host can do it.
available=$(awk '/MemTotal/ {print $2}' /proc/meminfo)
if ((available > 5 * 1024 * 1024)); then
  boot_disks --memory 5G
  contains "memory above the 4 GiB hole is seen" "memory: 5" "$OUT"
else
  skip "memory above the 4 GiB hole is seen" "this box has $((available / 1024)) MiB"
fi
boot_disks --memory 64M
contains "64 MiB are enough" "copied" "$OUT"

try "$THIMBLE" boot --kernel "$KERNEL" --memory 100000G </dev/null
[[ $STATUS != 0 && $ERR == *"this host has"* ]] && ok "more memory than the host has is refused" || not_ok "more memory than the host has is refused" "$STATUS $ERR"
finish

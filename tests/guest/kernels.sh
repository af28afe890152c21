#!/usr/bin/env bash
# Kernels that others built, and ours beside them: Debian's cloud kernel as a bzImage and as the ELF
# image in it, its generic kernel (with a VM generation ID driver) by its PVH entry. Runs where Linux
# guests can run; needs KERNEL, our vmlinux, and STOCK, the folder of tools/setup/stock-kernels.
set -uo pipefail
. tests/guest/properties.sh
: "${KERNEL:?}" "${STOCK:?}"

make_initrd() { # NAME MODULES-FOLDER
  local root=$SCRATCH/$1.root module
  mkdir -p "$root/bin" "$root/dev" "$root/proc" "$root/sys" "$root/modules"
  cp /bin/busybox "$root/bin/"
  cp tests/kernels/init "$root/init"
  cp build/kernels/vsock_echo "$root/"
  : >"$root/modules/order"
  if [[ -n $2 ]]; then
    cp "$2"/*.ko "$root/modules/"
    for module in virtio_ring virtio virtio_mmio virtio_blk virtio-rng vsock \
      vmw_vsock_virtio_transport_common vmw_vsock_virtio_transport; do
      [[ -f $root/modules/$module.ko ]] && echo "$module" >>"$root/modules/order"
    done
  fi
  (cd "$root" && find . | cpio --quiet -o -H newc >"$SCRATCH/$1.initrd")
}
make_initrd own ""
make_initrd cloud "$STOCK/cloud/modules"
make_initrd generic "$STOCK/generic/modules"

head -c 1048576 /dev/urandom >"$SCRATCH/disk"
head -c 65536 /dev/urandom >"$SCRATCH/readonly"

# NAME KERNEL INITRD WORDS OPTION…: boots with two disks and a vsock stream through, and checks what
# every kernel has to find.
boot() {
  local name=$1 kernel=$2 initrd=$3 words=$4 hash
  shift 4
  head -c 1048576 /dev/urandom >"$SCRATCH/disk"
  hash=$(sha256sum <"$SCRATCH/disk" | cut -c1-64)
  rm -f "$SCRATCH/vm.sock"
  python3 tests/kernels/exchange.py "$SCRATCH/vm.sock" 7000 262144 >"$SCRATCH/exchange" 2>&1 &
  try "$THIMBLE" boot --kernel "$kernel" --initrd "$SCRATCH/$initrd.initrd" --memory 512M \
    --disk "$SCRATCH/disk:rw" --disk "$SCRATCH/readonly:ro" --vsock "$SCRATCH/vm.sock" \
    --cmdline "console=ttyS0 quiet panic=-1 vsock=7000 $words" "$@" </dev/null
  kill $! 2>/dev/null
  wait $! 2>/dev/null
  contains "$name: finds its two disks once each, and what they hold" "disks: 2 vda $hash vdb-ro 1" "$OUT"
  contains "$name: writes a disk" "disks: written" "$OUT"
  equal "$name: what it wrote is in the file" "$(head -c 65536 "$SCRATCH/disk" | sha256sum)" \
    "$(tail -c +524289 "$SCRATCH/disk" | head -c 65536 | sha256sum)"
  contains "$name: takes entropy from the host" "entropy: 64 virtio_rng" "$OUT"
  contains "$name: a vsock stream goes through both ways" "exchange: same" "$(cat "$SCRATCH/exchange")"
  contains "$name: … all of it" "vsock: 262144 bytes" "$OUT"
}

boot "cloud bzImage, 2 CPUs" "$STOCK/cloud/vmlinuz" cloud "end=poweroff" --vcpus 2
contains "cloud bzImage, 2 CPUs: both run" "cpus: 2" "$OUT"
contains "cloud bzImage, 2 CPUs: the device tree has what it should" \
  "acpi: ACPI0013:00 LNRO0005:00 LNRO0005:01 LNRO0005:02 LNRO0005:03 LNXSYBUS:00 LNXSYBUS:01 LNXSYSTM:00 PNP0501:00 THMB0001:00" "$OUT"
contains "cloud bzImage, 2 CPUs: keeps time by kvm-clock" "clock: kvm-clock" "$OUT"
equal "cloud bzImage, 2 CPUs: power-off (S5) ends it with status 0" 0 "$STATUS"
contains "cloud bzImage, 2 CPUs: … after the guest asked for it" "end: poweroff" "$OUT"

boot "cloud vmlinux, 8 CPUs" "$STOCK/cloud/vmlinux" cloud "end=reboot" --vcpus 8
contains "cloud vmlinux, 8 CPUs: all run" "cpus: 8" "$OUT"
# Without reboot=… this kernel jumps to where a BIOS would start (vmm/load/reset_vector.h).
equal "cloud vmlinux, 8 CPUs: its own way of rebooting ends it with status 0" 0 "$STATUS"

boot "our kernel, 8 CPUs" "$KERNEL" own "reboot=k end=reboot" --vcpus 8
contains "our kernel, 8 CPUs: all run" "cpus: 8" "$OUT"
contains "our kernel, 8 CPUs: finds its devices without ACPI" "acpi: |" "$(tr -d '\r' <<<"$OUT" | tr '\n' '|')"
equal "our kernel, 8 CPUs: ends with status 0" 0 "$STATUS"

# A new generation ID: the guest's kernel hears of it and reseeds its random numbers.
try build/tests/generation "$STOCK/generic/vmlinux" "$SCRATCH/generic.initrd" \
  "console=ttyS0 quiet panic=-1 reboot=a generation=1 end=reboot"
contains "generic kernel by PVH: comes up" "cpus: 1" "$OUT"
contains "generic kernel by PVH: a new VM generation ID makes it reseed" "crng reseeded due to virtual machine fork" "$OUT"
contains "generic kernel by PVH: the reset register of the FADT (reboot=a) resets it" "end 1:" "$ERR"

# What a file is not gets one line that says so.
try "$THIMBLE" boot --kernel "$STOCK/cloud/vmlinuz" --entry pvh </dev/null
contains "a bzImage has no PVH entry, and that is said" "has no PVH entry" "$ERR"
head -c 3000000 "$STOCK/cloud/vmlinuz" >"$SCRATCH/short"
try "$THIMBLE" boot --kernel "$SCRATCH/short" </dev/null
contains "half a bzImage is refused" "is it cut short?" "$ERR"
try "$THIMBLE" boot --kernel "$STOCK/cloud/vmlinuz" --memory 32M </dev/null
contains "too little memory to unpack in is said" "give it more memory" "$ERR"
equal "… with status 125" 125 "$STATUS"
finish

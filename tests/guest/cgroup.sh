#!/usr/bin/env bash
# The cgroup of a VMM process where its place was delegated, as systemd does it: thimble runs in one
# child of a marked group, its VMs in others beside it. By root and by an ordinary user; and what
# kill -9 leaves. To be run as root in the lab's box; needs KERNEL.
set -uo pipefail
. tests/guest/properties.sh
: "${KERNEL:?}"
if [[ $(stat -fc %T /sys/fs/cgroup) != cgroup2fs || -z ${THIMBLE_LAB:-} ]]; then
  skip "a delegated cgroup" "which controllers a group has is for the host to say; the lab's box is ours"
  finish
fi
TOP=/sys/fs/cgroup
GROUP=$TOP/thimble-test
is_empty() { [[ -z $(find "$GROUP" -name cgroup.procs -exec cat {} + 2>/dev/null) ]]; }
groups_of_vms() { find "$GROUP" -mindepth 1 -type d -name 'thimble-vm-*' -printf '%f\n'; }

# A run of this that was cut short left it.
[[ -d $GROUP ]] && find "$GROUP" -depth -type d -exec rmdir {} \;
echo "+memory +pids" >$TOP/cgroup.subtree_control
mkdir "$GROUP" "$GROUP/own"
echo "+memory +pids" >"$GROUP/cgroup.subtree_control"
# INSIDE CMD… becomes CMD in the place that was delegated.
INSIDE=$SCRATCH/inside
printf '#!/bin/sh\necho $$ >%s/own/cgroup.procs && exec "$@"\n' "$GROUP" >"$INSIDE"
chmod 755 "$SCRATCH" "$INSIDE"

# CMD…: a VM that sleeps; the pid of thimble goes to $RUNNER, of the VMM to $VMM.
sleeper() {
  "$INSIDE" "$@" sleep 60 </dev/null &
  RUNNER=$!
  find_vmm $RUNNER
}
end_sleeper() {
  kill -TERM $RUNNER
  wait $RUNNER
}

sleeper "$THIMBLE" run --memory 128M --
equal "a group that nobody marked as delegated is left alone" "0::/thimble-test/own" "$(<"/proc/$VMM/cgroup")"
end_sleeper

perl -e '($path, $name, $value) = @ARGV; exit(syscall(188, $path, $name, $value, 1, 0) != 0)' \
  "$GROUP" user.delegate 1 # setxattr
sleeper "$THIMBLE" run --require-confinement --memory 128M --
equal "delegated: the VMM is in a group of its own" "0::/thimble-test/thimble-vm-$RUNNER-0" "$(<"/proc/$VMM/cgroup")"
equal "… alone" "$VMM" "$(<"$GROUP/thimble-vm-$RUNNER-0/cgroup.procs")"
equal "… with the guest's memory and 64 MiB as its limit" $((192 << 20)) "$(<"$GROUP/thimble-vm-$RUNNER-0/memory.max")"
equal "… and 128 tasks" 128 "$(<"$GROUP/thimble-vm-$RUNNER-0/pids.max")"
end_sleeper
equal "… which goes with the VM" "" "$(groups_of_vms)"

# What a guest does with its memory is its own trouble: its VMM has room beside it.
try "$INSIDE" "$THIMBLE" run --memory 128M -- sh -c 'tail -n 1 /dev/zero; echo still here'
equal "a guest that uses up its memory does not end its VMM" "0 still here" "$STATUS $OUT"

for delay in 0.1 0.3 0.6 1.5; do
  "$INSIDE" "$THIMBLE" run -- sleep 60 </dev/null >/dev/null 2>&1 &
  RUNNER=$!
  sleep $delay
  kill -KILL $RUNNER
  wait $RUNNER 2>/dev/null
done
soon is_empty
if [[ -n $(groups_of_vms) ]]; then ok "kill -9 of thimble may leave empty groups"; else
  not_ok "kill -9 of thimble may leave empty groups" "none: what follows shows nothing"
fi
try "$INSIDE" "$THIMBLE" run -- echo hello
equal "… which the next run removes" "0 hello " "$STATUS $OUT $(groups_of_vms)"

# An ordinary user to whom it was delegated, with a kernel and an image that are not behind root's home.
cp "$THIMBLE" "$SCRATCH/thimble"
cp "$KERNEL" "$SCRATCH/vmlinux"
cp "$("$THIMBLE" image inspect busybox --json | grep -o '"[^"]*rootfs.erofs"' | tr -d '"' | head -1)" "$SCRATCH/busybox.erofs"
chmod 755 "$SCRATCH/thimble"
chmod 644 "$SCRATCH"/vmlinux "$SCRATCH"/busybox.erofs
mkdir "$SCRATCH/home"
chown 4321:4321 "$SCRATCH/home" "$GROUP" "$GROUP/cgroup.procs" "$GROUP/own" "$GROUP/own/cgroup.procs"
sleeper setpriv --reuid=4321 --regid=4321 --clear-groups env "HOME=$SCRATCH/home" \
  "THIMBLE_CACHE=$SCRATCH/home/cache" "THIMBLE_KERNEL=$SCRATCH/vmlinux" \
  "$SCRATCH/thimble" run --require-confinement --image "$SCRATCH/busybox.erofs" --
equal "delegated to a user: the same" "0::/thimble-test/thimble-vm-$RUNNER-0" "$(<"/proc/$VMM/cgroup")"
end_sleeper
soon is_empty
holds "nothing is left there at the end" rmdir "$GROUP/own" "$GROUP"
finish

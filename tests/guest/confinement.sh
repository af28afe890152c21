#!/usr/bin/env bash
# A running VMM process as the host sees it, started by root and by an ordinary user; hosts that
# refuse a layer; and what is left after kill -9. What a taken-over VMM can do: tests/jail. To be
# run as root on a machine that can run Linux guests; needs KERNEL.
set -uo pipefail
. tests/guest/properties.sh
: "${KERNEL:?}"
chmod 755 "$SCRATCH"

# An ordinary user's own thimble, kernel and image, since root's are behind root's home directory.
cp "$THIMBLE" "$SCRATCH/thimble"
cp "$KERNEL" "$SCRATCH/vmlinux"
cp "$("$THIMBLE" image inspect busybox --json | grep -o '"[^"]*rootfs.erofs"' | tr -d '"' | head -1)" "$SCRATCH/busybox.erofs"
chmod 755 "$SCRATCH"/thimble
chmod 644 "$SCRATCH"/vmlinux "$SCRATCH"/busybox.erofs
mkdir -p "$SCRATCH/home"
chown 4321:4321 "$SCRATCH/home"
AS_USER=(setpriv --reuid=4321 --regid=4321 --clear-groups env "HOME=$SCRATCH/home"
  "THIMBLE_CACHE=$SCRATCH/home/cache" "THIMBLE_KERNEL=$SCRATCH/vmlinux")

field() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status"; }

# WHO UID
look_at_vmm() {
  local who=$1 uid=$2 ns task bad=
  sleep 1
  read -r -a uids <<<"$(field "$VMM" Uid)"
  if [[ $uid == any ]]; then
    ((uids[0] >= 1879048192 && uids[1] == uids[0] && uids[2] == uids[0])) && ok "$who: the uid is one of thimble's own (${uids[0]})" || not_ok "$who: the uid is one of thimble's own" "${uids[*]}"
  else
    equal "$who: the uid is the user's" "$uid $uid $uid $uid" "${uids[*]}"
  fi
  equal "$who: no capabilities, none in the bounding set" "0000000000000000 0000000000000000 0000000000000000" \
    "$(field "$VMM" CapPrm) $(field "$VMM" CapEff) $(field "$VMM" CapBnd)"
  for task in /proc/"$VMM"/task/*; do
    [[ $(grep -cE '^(NoNewPrivs:\s*1|Seccomp:\s*2)$' "$task/status") == 2 ]] || bad+=" ${task##*/}"
  done
  equal "$who: no new privileges and a filter on every thread" "" "$bad"
  for ns in user mnt pid net ipc uts cgroup; do
    [[ $(readlink "/proc/$VMM/ns/$ns") == $(readlink "/proc/self/ns/$ns") ]] && bad+=" $ns"
  done
  equal "$who: namespaces of its own" "" "$bad"
  equal "$who: nothing of thimble's environment and arguments" "thimble-vmm" "$(tr '\0' ' ' <"/proc/$VMM/environ")$(tr -d '\0' <"/proc/$VMM/cmdline")"
  equal "$who: an empty root" "" "$(ls -A "/proc/$VMM/root/")"
  equal "$who: nothing of the host mounted" 1 "$(wc -l <"/proc/$VMM/mountinfo")"
  equal "$who: no descriptors but /dev/null, KVM, sockets, event files and its disk" "" \
    "$(ls -l "/proc/$VMM/fd" | sed -n 's/.* -> //p' | grep -vE '^(/null|/dev/kvm|socket:.*|anon_inode:.*|.*\.erofs)$')"
  contains "$who: no core dumps" "Max core file size        0                    0" "$(<"/proc/$VMM/limits")"
}

# ---- root and an ordinary user
"$THIMBLE" run --require-confinement -- sleep 60 </dev/null &
runner=$!
find_vmm $runner
look_at_vmm root any
kill -KILL "$VMM"
wait $runner
equal "root: a killed VMM ends thimble with 125" 125 $?

"${AS_USER[@]}" "$SCRATCH/thimble" run --require-confinement --image "$SCRATCH/busybox.erofs" -- sleep 60 </dev/null &
runner=$!
find_vmm $runner
look_at_vmm user 4321
kill -KILL $runner
wait $runner 2>/dev/null
wait_until "user: kill -9 of thimble ends the VMM" is_gone "$VMM"
try "${AS_USER[@]}" "$SCRATCH/thimble" run --require-confinement --image "$SCRATCH/busybox.erofs" -- echo hello
equal "user: a run" "0 hello" "$STATUS $OUT"

# ---- kill -9 at any moment
mounts=$(sort /proc/self/mountinfo | sha256sum)
for delay in 0.05 0.1 0.15 0.2 0.3 0.5 0.8 1.5; do
  "$THIMBLE" run -- sleep 60 </dev/null >/dev/null 2>&1 &
  runner=$!
  sleep $delay
  kill -KILL $runner
  wait $runner 2>/dev/null
done
wait_until "kill -9 of thimble at eight moments leaves no process" nobody -f 'thimble run -- sleep 60'
wait_until "… and no VMM" nobody -x thimble-vmm
equal "… no mount" "$mounts" "$(sort /proc/self/mountinfo | sha256sum)"

# ---- hosts that refuse
before=$(</proc/sys/user/max_user_namespaces)
echo 0 >/proc/sys/user/max_user_namespaces
try "${AS_USER[@]}" "$SCRATCH/thimble" run --image "$SCRATCH/busybox.erofs" -- echo hello
equal "without user namespaces a user's run goes on" "0 hello" "$STATUS $OUT"
contains "… and says what is missing and what to do" "user namespace" "$ERR"
contains "… in one line" "1" "$(wc -l <<<"$ERR")"
try "${AS_USER[@]}" "$SCRATCH/thimble" run --require-confinement --image "$SCRATCH/busybox.erofs" -- echo hello
equal "--require-confinement refuses" "125 " "$STATUS $OUT"
contains "… and says why" "sysctl -w user.max_user_namespaces" "$ERR"
try "${AS_USER[@]}" "$SCRATCH/thimble" boot --require-confinement --kernel "$SCRATCH/vmlinux" </dev/null
equal "… so does boot" 125 "$STATUS"
try "$THIMBLE" run -- echo hello
equal "root's run goes on" "0 hello" "$STATUS $OUT"
try "${AS_USER[@]}" "$SCRATCH/thimble" doctor
contains "doctor shows it" "user namespace" "$OUT"
echo "$before" >/proc/sys/user/max_user_namespaces

before=$(</proc/sys/user/max_net_namespaces)
echo 0 >/proc/sys/user/max_net_namespaces
run -- echo hello
equal "without network namespaces the run goes on" "0 hello" "$STATUS $OUT"
contains "… and only that layer is named" "refuses network namespace (" "$ERR"
echo "$before" >/proc/sys/user/max_net_namespaces
finish

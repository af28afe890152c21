# Starting, finding and stopping boxes. Sourced by tools/lab.
#
# A box's folder, $LAB/box-<project>-<kind>-<memory>/, holds: alive (locked by lab-keeper while the
# box runs), users (shared lock per user), start.lock, token, port, stamp, monitor, initrd,
# forwards, serial.log and keeper.log.

AGENT=$ROOT/build/bin/lab-agent
CLIENT=$ROOT/build/bin/lab-client
KEEPER=$ROOT/build/bin/lab-keeper
QEMU_FAULTS=$ROOT/build/bin/lab-qemu-faults.so
VIRTIOFSD=/usr/lib/qemu/virtiofsd
KEPT_OLD=3 # status of start_box
ACCEPT_OLD=no
START_TIMEOUT=${THIMBLE_LAB_START_TIMEOUT:-180}

is_alive() { # BOX
  [[ -f $1/alive ]] && ! flock --nonblock --exclusive "$1/alive" true
}

# Sets PORT of a box that runs the lab's present parts, and leaves descriptor 9 as a mark of use
# that the caller's process keeps to its end.
use_box() {
  local attempt status
  build_parts
  mkdir -p "$LAB" "$BOX"
  # Its token lets whoever reads it run commands in the box.
  [[ -O $LAB && -O $BOX && ! -L $BOX ]] ||
    die "$BOX is not yours: set THIMBLE_CACHE to a folder of your own"
  chmod 700 "$BOX"
  for attempt in 1 2 3; do
    exec 9>"$BOX/users"
    flock --shared 9
    if ready_box; then return; fi
    flock --unlock 9
    set +e # not `start_box || …`, which would switch it off inside
    start_box
    status=$?
    set -e
    case $status in
      0) ;;
      "$KEPT_OLD") ACCEPT_OLD=yes ;;
      *) exit 125 ;;
    esac
  done
  die "the box does not stay up: see $BOX/keeper.log and tools/lab logs"
}

ready_box() {
  [[ -s $BOX/port ]] && is_alive "$BOX" &&
    [[ $ACCEPT_OLD == yes || $(<"$BOX/stamp") == "$(stamp)" ]] && read -r PORT <"$BOX/port"
}

# What the running box was made from; another value means that it has to be started anew.
stamp() {
  if [[ -z ${STAMP:-} ]]; then
    STAMP=$(cat "$AGENT" "$KEEPER" "$QEMU_FAULTS" "$PARTS"/*.sh "$PARTS/modules.txt" | sha256sum)
  fi
  echo "$STAMP"
}

build_parts() {
  local source
  if [[ -x $AGENT && -x $CLIENT && -x $KEEPER && -e $QEMU_FAULTS ]]; then
    for source in "$PARTS"/*.cpp "$PARTS"/*.h "$PARTS"/lab.mk; do
      [[ $source -nt $CLIENT || $source -nt $AGENT ]] && break
      source=
    done
    [[ -z $source ]] && return
  fi
  say "building the lab's programs"
  (
    mkdir -p "$ROOT/build"
    exec 7>"$ROOT/build/.lab-build.lock"
    flock 7
    make -C "$ROOT" --no-print-directory lab-tools 7>&- >&2 && touch "$CLIENT" "$AGENT"
  ) || die "building the lab's programs failed"
}

start_box() {
  (
    set -e
    exec 8>"$BOX/start.lock"
    flock 8
    if ready_box; then exit 0; fi
    if is_alive "$BOX"; then
      # Without a port it is ending, or whoever started it was killed half-way.
      if [[ -s $BOX/port ]]; then replace_box; else stop_box "$BOX"; fi
    fi
    exec 6>"$BOX/users"
    flock --shared 6 # a box that is starting is not idle
    check_programs
    say "starting the box ($KIND time, $MEMORY MiB)"
    ensure_kernel
    rm -rf "$BOX"/initrd.*
    rm -f "$BOX"/{serial.log,keeper.log,forwards,monitor,port,host.sock,live.sock}
    make_initrd
    launch
    await_ready
    touch "$BOX/users"
  ) 9>&-
}

# A box that was made from other parts is ended, unless somebody uses it: then it is kept for now.
replace_box() {
  exec 6>"$BOX/users"
  if ! flock --exclusive --nonblock 6; then
    say "the lab's parts have changed, but the box is in use: kept (tools/lab stop ends it)"
    exit "$KEPT_OLD"
  fi
  say "the lab's parts have changed: restarting the box"
  stop_box "$BOX"
  exec 6>&-
}

check_programs() {
  local missing=()
  command -v qemu-system-x86_64 >/dev/null || missing+=(qemu-system-x86)
  [[ -x $VIRTIOFSD ]] || missing+=(qemu-system-common)
  command -v lz4 >/dev/null || missing+=(lz4)
  command -v cpio >/dev/null || missing+=(cpio)
  ((${#missing[@]} == 0)) || die "missing programs: apt-get install ${missing[*]}"
  if ((UID != 0)); then
    sudo -n true 2>/dev/null || sudo -v ||
      die "virtiofsd, which shares the file tree with the box, needs root: no sudo"
  fi
}

make_initrd() {
  local tree
  tree=$(mktemp -d "$BOX/initrd.XXXXXX")
  cp "$AGENT" "$tree/init"
  cp "$PARTS/modules.txt" "$tree/"
  cp -r "$KERNEL/modules" "$tree/modules"
  (
    umask 077
    head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$BOX/token"
    printf 'token %s\nbind %s\nbind %s\n' "$(<"$BOX/token")" "$ROOT" "$CACHE" >"$tree/lab.conf"
    [[ $KIND == real ]] || echo virtual-time >>"$tree/lab.conf"
    (cd "$tree" && find . | cpio --quiet -o -H newc -R 0:0) >"$BOX/initrd"
  )
  rm -rf "$tree"
}

qemu_command() {
  local processor append
  append="console=ttyS0 quiet panic=-1 reboot=t mitigations=off random.trust_cpu=on"
  append+=" no_timer_check nowatchdog cryptomgr.notests rcupdate.rcu_expedited=1"
  # TCG's counters run together, but the kernel's check of two processors' counters is too strict
  # for it; without TSC every look at the clock would be a slow read of the HPET's registers.
  append+=" tsc=reliable clocksource=tsc"
  # TCG keeps translated code by virtual address: with random addresses every start of a program
  # would be translated anew (measured: 63 ms for one dynamic executable, 16 ms without).
  append+=" norandmaps"
  local real_time=
  if [[ $KIND == virtual ]]; then
    processor=(-accel tcg,thread=single -icount shift=0,sleep=off -smp 1)
  else
    # One processor, although the machine has more: with two, 2 of about 25 boots with a chatty console
    # hung the whole box (QEMU 7.2 had written the host's state into the guest's VMCB; why was not
    # found), with one 0 of 45 did, and they took half the time.
    processor=(-accel tcg,thread=single -smp 1)
    real_time=1
  fi
  QEMU=(
    env "LD_PRELOAD=$QEMU_FAULTS" ${real_time:+LAB_REAL_TIME=1}
    qemu-system-x86_64 -name "thimble-lab-$KIND" -M q35 "${processor[@]}"
    # Without ERMS: TCG counts rep movsb byte by byte, which spoils every figure with a page copy.
    -cpu max,+svm,-erms -m "$MEMORY"
    -object "memory-backend-memfd,id=memory,size=${MEMORY}M,share=on" -machine memory-backend=memory
    -chardev "socket,id=host,path=$BOX/host.sock" -device vhost-user-fs-pci,chardev=host,tag=host
    -chardev "socket,id=live,path=$BOX/live.sock" -device vhost-user-fs-pci,chardev=live,tag=live
    -netdev "user,id=net0,restrict=on,hostfwd=tcp:127.0.0.1:0-10.0.2.15:7,ipv6=off"
    -device virtio-net-pci,netdev=net0,romfile=
    -device virtio-rng-pci
    -chardev "socket,id=monitor,path=$BOX/monitor,server=on,wait=off" -mon chardev=monitor
    -serial "file:$BOX/serial.log" -display none -nodefaults -no-user-config -no-reboot
    -kernel "$KERNEL/vmlinux" -initrd "$BOX/initrd" -append "$append"
  )
}

# Sets FILES to the command line of a file server for `/` and to the separator after it. Names and
# attributes are kept for SECONDS: 1 for the machine's system, 0 for what is being built. Sandbox
# namespace would pivot into the shared folder, which cannot be done with `/`.
file_server() { # NAME SECONDS
  local sudo=() group=()
  if ((UID != 0)); then
    sudo=(sudo -n)
    group=("--socket-group=$(id -gn)")
  fi
  FILES=(
    "$BOX/$1.sock" "${sudo[@]}" "$VIRTIOFSD" -f "--socket-path=$BOX/$1.sock" "${group[@]}"
    -o "source=/,sandbox=chroot,cache=always,timeout=$2,log_level=warn" --
  )
}

launch() {
  local servers
  file_server host 1
  servers=("${FILES[@]}")
  file_server live 0
  servers+=("${FILES[@]}")
  qemu_command
  : >"$BOX/serial.log"
  (
    cd /
    umask 077
    # Virtual time never waits: such a box keeps a core of the machine busy even when it idles.
    idle=1800
    [[ $KIND == virtual ]] && idle=120
    exec setsid "$KEEPER" "$BOX" "$ROOT" "${THIMBLE_LAB_IDLE:-$idle}" "${servers[@]}" "${QEMU[@]}"
  ) </dev/null >"$BOX/keeper.log" 2>&1 6>&- 8>&- &
  stamp >"$BOX/stamp"
}

await_ready() {
  local ticks=0
  until grep -q '^lab-agent: ready' "$BOX/serial.log"; do
    sleep 0.1
    if ((++ticks > START_TIMEOUT * 10)); then
      stop_box "$BOX"
      start_failed "it did not come up within $START_TIMEOUT s"
    fi
    if ((ticks > 20)) && ! is_alive "$BOX"; then start_failed "it ended while starting"; fi
  done
  "$CLIENT" monitor "$BOX/monitor" "info usernet" |
    sed -n 's/^ *TCP\[HOST_FORWARD\] *[0-9]* *127.0.0.1 *\([0-9]*\) *10.0.2.15 *7 .*/\1/p' >"$BOX/port"
  [[ -s $BOX/port ]] || start_failed "QEMU shows no forwarded port"
}

start_failed() {
  tail -n 5 "$BOX/keeper.log" "$BOX/serial.log" >&2
  die "the box could not be started: $1"
}

stop_box() { # BOX
  local keeper
  is_alive "$1" || return 0
  read -r keeper <"$1/pid" || return 0
  kill -TERM "$keeper" 2>/dev/null || true
  flock --timeout 10 --exclusive "$1/alive" true || kill -KILL "$keeper" 2>/dev/null || true
}

describe_box() { # BOX
  local name=${1##*/} users idle
  users=$(grep -c ":$(stat -c %i "$1/users") " /proc/locks || true)
  idle=$(($(date +%s) - $(stat -c %Y "$1/users")))
  echo "$name: keeper pid $(<"$1/pid"), $users in use, last start of a command $idle s ago"
  [[ ! -f $1/forwards ]] || sed 's/^/  forward /' "$1/forwards"
}

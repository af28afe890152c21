#!/usr/bin/env bash
# The daemon as a service of systemd's: the units that `make install` installs, under a user manager of
# this test's own. In the lab's box, where nobody else's manager is; needs the image of `echo`.
set -uo pipefail
. tests/guest/properties.sh
if [[ -z ${THIMBLE_LAB:-} ]]; then
  skip "the units under systemd" "only the lab's box is known to have no user manager already"
  finish
fi
export THIMBLE_DAEMON=existing THIMBLE_TEMPLATES=$SCRATCH/templates
export XDG_RUNTIME_DIR=$SCRATCH/run XDG_CONFIG_HOME=$SCRATCH/config
UNITS=$XDG_CONFIG_HOME/systemd/user
SOCKET=$XDG_RUNTIME_DIR/thimble/daemon.sock
unset DBUS_SESSION_BUS_ADDRESS THIMBLE_RUNTIME
mkdir -p "$UNITS" -m 700 "$XDG_RUNTIME_DIR"

PREFIX=$PWD/build/prefix # where the units say that thimble is
THIMBLE=$PREFIX/bin/thimble
holds "make install PREFIX=build/prefix, before" cp "$PREFIX"/lib/systemd/user/thimble.{service,socket} "$UNITS"

service() { systemctl --user show --property "$1" --value thimble.service; }
service_is() { [[ $(service ActiveState) == "$1" ]]; }
clone() { timeout 100 "$THIMBLE" run --template test "$@"; }

try "$THIMBLE" template create test --memory 128M -- cat
equal "a template is made" 0 "$STATUS"

# A group for it, as a user's manager has one; a run of this that was cut short left it.
TOP=/sys/fs/cgroup
GROUP=$TOP/thimble-manager
remove_group() { [[ ! -d $GROUP ]] || find "$GROUP" -depth -type d -exec rmdir {} \; ; }
remove_group
echo "+memory +pids" >$TOP/cgroup.subtree_control
mkdir "$GROUP"

mkdir -p /run/systemd/system # what it takes for a machine that systemd has booted
(
  echo $BASHPID >"$GROUP/cgroup.procs"
  exec /lib/systemd/systemd --user --log-target=console
) >"$SCRATCH/manager.log" 2>&1 &
MANAGER=$!
wait_until "a user manager runs" test -S "$XDG_RUNTIME_DIR/systemd/private"
try systemctl --user enable --now thimble.socket
equal "systemctl --user enable --now thimble.socket" 0 "$STATUS"
equal "the socket is there" yes "$([[ -S $SOCKET ]] && echo yes)"
equal "… for its user alone" "700 600" "$(stat -c %a "$(dirname "$SOCKET")" "$SOCKET" | xargs)"
equal "… and no daemon yet" inactive "$(service ActiveState)"

equal "a run is answered" "first" "$(clone <<<first)"
first=$(service MainPID)
contains "… by the daemon that systemd started for it" "Daemon $first," "$("$THIMBLE" status)"

mkfifo "$SCRATCH/input"
clone <"$SCRATCH/input" >"$SCRATCH/held" &
exec {INPUT}>"$SCRATCH/input"
tell "$INPUT" held
wait_until "a clone runs" grep -q held "$SCRATCH/held"
vm=$("$THIMBLE" status --json | python3 -c 'import json,sys; print(*[v["pid"] for v in json.load(sys.stdin)["vms"] if v["state"] == "claimed"])')
place=$TOP$(sed -n 's/^0:://p' "/proc/$vm/cgroup")
contains "a VM has a group of its own in what systemd has delegated" "/thimble.service/thimble-vm-$first-" "$place"
equal "… with the guest's memory and 64 MiB as its limit, and 128 tasks" "$((192 << 20)) 128" \
  "$(<"$place/memory.max") $(<"$place/pids.max")"
exec {INPUT}>&-
wait $!

kill -9 "$first"
wait_until "systemd sees the daemon's end" service_is failed
equal "the next run is answered" "second" "$(clone <<<second)"
contains "… by the next daemon" "Daemon $(service MainPID)," "$("$THIMBLE" status)"
equal "… which is another" no "$([[ $(service MainPID) == "$first" ]] && echo yes || echo no)"

# One that ends by itself when it has nothing to do.
mkdir "$UNITS/thimble.service.d"
printf '[Service]\nExecStart=\nExecStart=%s daemon --delegated --idle 1s --idle-exit 1s\n' "$THIMBLE" >"$UNITS/thimble.service.d/soon.conf"
systemctl --user daemon-reload
systemctl --user stop thimble.service 2>/dev/null
equal "a service that is stopped leaves no VM" "" "$(pgrep -x thimble-vmm)"
equal "a run after that is answered" "third" "$(clone <<<third)"
wait_until "a daemon with nothing to do ends" service_is inactive
equal "… as it should" success "$(service Result)"
equal "… and the socket waits for the next run" "fourth" "$(clone <<<fourth)"

systemctl --user disable --now thimble.socket 2>/dev/null
systemctl --user stop thimble.service
equal "stopped, both leave no VM" "" "$(pgrep -x thimble-vmm)"
# systemd leaves the file of a socket.
equal "… and a run goes without them" "fifth" "$(clone <<<fifth)"
kill "$MANAGER"
wait "$MANAGER"
remove_group
equal "its groups are empty in the end" gone "$([[ -d $GROUP ]] || echo gone)"
finish

#!/usr/bin/env bash
# thimble image and prepare: same input, same bytes; two builders; a builder whose client is killed;
# a full disk. Needs no KVM.
set -uo pipefail
. tests/guest/properties.sh
export THIMBLE_CACHE=$SCRATCH/cache
mkdir -p "$THIMBLE_CACHE"

image() { try "$THIMBLE" image "$@"; }
digest_of() { "$THIMBLE" image inspect "$1" --json | grep -oE '"digest": *"[^"]+"' | head -1; }

image build recipe busybox
equal "the busybox recipe builds" 0 "$STATUS"
first=$(digest_of busybox)
bytes=$(sha256sum "$(find "$THIMBLE_CACHE" -name rootfs.erofs | head -1)" | cut -d' ' -f1)
image rm busybox
equal "an image can be removed" 0 "$STATUS"
image inspect busybox
[[ $STATUS != 0 ]] && ok "… and is gone" || not_ok "… and is gone" "$OUT"
image build recipe busybox
equal "the same input gives the same image" "$first" "$(digest_of busybox)"
equal "… and the same bytes" "$bytes" "$(sha256sum "$(find "$THIMBLE_CACHE" -name rootfs.erofs | head -1)" | cut -d' ' -f1)"
image ls
contains "ls names it" "busybox" "$OUT"
image inspect "$(awk '/^busybox/ {print $2}' <<<"$OUT")"
equal "… and inspect takes the digest that it shows" 0 "$STATUS"
image build mine
[[ $STATUS == 2 && $ERR == *"npm:mine"* ]] && ok "a name of nothing gets a hint, and the status of mistakes" || not_ok "a name of nothing gets a hint, and the status of mistakes" "$STATUS $ERR"
try "$THIMBLE" prepare
[[ $STATUS == 2 && $ERR == *"thimble prepare -- CMD"* ]] && ok "prepare without a command is such a mistake, too" || not_ok "prepare without a command is such a mistake, too" "$STATUS $ERR"
try "$THIMBLE" run -- env A=1 uvx foo
[[ $STATUS == 127 && $ERR == *PyPI* && $(wc -l <<<"$ERR") == 1 ]] && ok "what is not supported is said before anything of the host" || not_ok "what is not supported is said before anything of the host" "$STATUS $ERR"
image inspect busybox --verify
equal "inspect --verify accepts what was built" 0 "$STATUS"
printf 'x' | dd of="$(find "$THIMBLE_CACHE" -name rootfs.erofs | head -1)" bs=1 seek=70000 conv=notrunc status=none
image inspect busybox --verify
[[ $STATUS != 0 ]] && ok "… and refuses what was altered" || not_ok "… and refuses what was altered" "$OUT"
image rm busybox

mkdir -p "$SCRATCH/tree/bin" && cp /bin/busybox "$SCRATCH/tree/bin/sh" && echo hello >"$SCRATCH/tree/greeting"
image build --name mine "$SCRATCH/tree"
equal "a directory becomes an image" 0 "$STATUS"
one=$(digest_of mine)
image build --name mine "$SCRATCH/tree"
equal "… and the same one when nothing changed" "$one" "$(digest_of mine)"
echo other >"$SCRATCH/tree/greeting"
image build --name mine "$SCRATCH/tree"
[[ $one != "$(digest_of mine)" ]] && ok "content does" || not_ok "content does" "$one"

timeout 120 "$THIMBLE" image build recipe node >"$SCRATCH/one" 2>&1 &
a=$!
timeout 120 "$THIMBLE" image build recipe node >"$SCRATCH/two" 2>&1 &
b=$!
wait $a; one=$?
wait $b; two=$?
equal "two builds of one image at once both succeed" "0 0" "$one $two"
equal "… and leave nothing half-made" 0 "$(find "$THIMBLE_CACHE/images/tmp" -mindepth 1 2>/dev/null | wc -l)"

# The client of a build is killed; the build goes on and is used next time.
setsid "$THIMBLE" prepare -- python3 -V >"$SCRATCH/killed" 2>&1 &
pid=$!
sleep 1
kill -KILL $pid 2>/dev/null
wait $pid 2>/dev/null
if soon "$THIMBLE" image inspect python; then ok "a build whose client was killed goes on"; else
  not_ok "a build whose client was killed goes on" "$(<"$SCRATCH/killed")"
fi

if ((EUID == 0)) && mkdir -p "$SCRATCH/small" && mount -t tmpfs -o size=20m,mode=700 none "$SCRATCH/small" 2>/dev/null; then
  THIMBLE_CACHE=$SCRATCH/small try "$THIMBLE" image build recipe node
  [[ $STATUS != 0 && $ERR == *"o space"* ]] && ok "a full disk is said" || not_ok "a full disk is said" "$STATUS $ERR"
  left=$(find "$SCRATCH/small/images/tmp" "$SCRATCH/small"/images/[0-9a-f]* -mindepth 1 2>/dev/null | wc -l)
  equal "… and no half-made image stays" 0 "$left"
  umount "$SCRATCH/small"
else
  skip "a full disk is said" "needs root to mount a small file system"
fi
finish

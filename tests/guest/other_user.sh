#!/usr/bin/env bash
# Root's thimble in folders of another user, and a user's where another one was first: each is refused
# in one line, and a canary of root's stays as it was. Needs neither KVM nor a guest, but root.
set -uo pipefail
. tests/guest/properties.sh
if ((EUID != 0)); then
  skip "folders of another user" "needs root, to become a second user"
  finish
fi
chmod 755 "$SCRATCH"
echo "what root had" >"$SCRATCH/canary"
chmod 600 "$SCRATCH/canary"
install -m 755 "$THIMBLE" "$SCRATCH/thimble"
install -d -o 4321 -g 4321 "$SCRATCH/theirs"
THEIRS=$SCRATCH/theirs
AS_OTHER=(setpriv --reuid=4321 --regid=4321 --clear-groups env -i "PATH=$PATH" "HOME=$THEIRS/home")

# NAME PART-OF-THE-LINE CMD…
refused() {
  local name=$1 part=$2 lines
  shift 2
  LIMIT=20 try "$@"
  lines=$(grep -vc '^thimble: building image ' <<<"$ERR")
  if [[ $STATUS != 0 && $STATUS != 124 && $ERR == *"$part"* && $lines == 1 ]]; then
    ok "$name"
  else
    not_ok "$name" "status $STATUS"$'\n'"stdout: $OUT"$'\n'"stderr: $ERR"
  fi
  equal "… and root's file is as it was" "what root had" "$(<"$SCRATCH/canary")"
}

# ---- snapshots: `verified` was written through a link that was there for each process id

"${AS_OTHER[@]}" bash -c "mkdir $THEIRS/snap; cd $THEIRS/snap; echo x >state; echo x >memory; ln -s $SCRATCH/canary verified
  for i in \$(seq $$ $(($$ + 2000))); do ln -s $SCRATCH/canary verified.\$i; ln -s $SCRATCH/canary verified.\$i.new; done"
refused "root inspects no snapshot of another user" "belongs to user 4321" "$THIMBLE" snapshot inspect "$THEIRS/snap"
refused "… and restores none" "belongs to user 4321" "$THIMBLE" snapshot restore "$THEIRS/snap"
mkdir "$SCRATCH/snap"
mkfifo "$SCRATCH/snap/state"
refused "a FIFO in a snapshot is not waited for" "no file" "$THIMBLE" snapshot inspect "$SCRATCH/snap"

# ---- the image store: locks and logs were links

"${AS_OTHER[@]}" bash -c "mkdir -p -m 700 $THEIRS/cache/images/{locks,logs,names,tmp}; cd $THEIRS/cache/images
  for name in busybox npm%3ax%40latest; do ln -s $SCRATCH/canary locks/\$name; ln -s $SCRATCH/canary logs/\$name.log; done"
for words in "image ls" "image build recipe busybox" "image rm busybox" "prepare -- echo"; do
  # shellcheck disable=SC2086 # the words are meant to split
  refused "root's '$words' does not use the cache of another user" "belongs to user 4321" \
    env THIMBLE_CACHE="$THEIRS/cache" "$THIMBLE" $words
done
mkdir -m 777 "$SCRATCH/open"
chmod 777 "$SCRATCH/open"
refused "a cache that all may write to is refused with the mend" "chmod go-w" \
  env THIMBLE_CACHE="$SCRATCH/open" "$THIMBLE" image ls
chmod 1777 "$SCRATCH/open"
refused "… a sticky one, too" "chmod go-w" env THIMBLE_CACHE="$SCRATCH/open" "$THIMBLE" image ls

# ---- the tools that builds start and put into images

chmod 755 "$SCRATCH/open"
install -d -o 4321 "$SCRATCH/open/npm"
refused "root's build uses no tools of another user" "npm: it belongs to user 4321" \
  env THIMBLE_CACHE="$SCRATCH/open" "$THIMBLE" image build recipe node
rm -r "$SCRATCH/open/npm"
mkdir "$SCRATCH/open/npm" "$SCRATCH/roots"
ln -s "$SCRATCH/roots" "$SCRATCH/open/npm/pinned"
refused "… and none by a link" "remove the link" \
  env THIMBLE_CACHE="$SCRATCH/open" "$THIMBLE" image build recipe node
equal "… nor writes through it" "0" "$(find "$SCRATCH/roots" -mindepth 1 | wc -l)"

# ---- templates

"${AS_OTHER[@]}" mkdir -m 700 "$THEIRS/templates"
refused "root uses no templates of another user" "belongs to user 4321" \
  env THIMBLE_TEMPLATES="$THEIRS/templates" "$THIMBLE" template inspect it

# ---- the runtime folder

"${AS_OTHER[@]}" mkdir -m 700 "$THEIRS/run"
refused "root's daemon does not serve in a folder of another user" "belongs to user 4321" \
  env THIMBLE_RUNTIME="$THEIRS/run" "$THIMBLE" daemon --stop
# A user without a session: whoever makes /tmp/thimble-UID first has nothing of it.
squat=/tmp/thimble-4321
if [[ ! -e $squat ]]; then
  mkdir -m 777 "$squat"
  mkdir "$THEIRS/home"
  chown 4321:4321 "$THEIRS/home"
  LIMIT=20 try "${AS_OTHER[@]}" "$SCRATCH/thimble" status
  equal "a folder in /tmp that somebody else made first hinders nobody" "0 0" "$STATUS $(find "$squat" -mindepth 1 | wc -l)"
  holds "… the user's own is in his cache" test -d "$THEIRS/home/.cache/thimble/run"
  rmdir "$squat"
fi
finish

#!/usr/bin/env bash
# A server finds the world that it expects: a parent, room for what it opens, files that it may change,
# a home, an answer for names that are not there. Runs where Linux guests can run. docs/guest.md.
set -uo pipefail
. tests/guest/properties.sh

# NAME: what the last run said of it, "NAME: VALUE".
said() { sed -n "s/^$1: //p" <<<"$OUT"; }
limit() { grep "^Max $1 " <<<"$OUT" | sed "s/^Max $1 *//" | awk '{print $1, $2}'; }

run -- sh -c 'echo "parent: $PPID"
  sh -c "sleep 0.1 & echo orphan: \$!" >/tmp/orphan; sleep 0.5
  echo "orphan: $(test -e /proc/$(cut -d" " -f2 /tmp/orphan) || echo reaped)"
  cat /proc/self/limits
  cd /proc/sys/fs; echo "files: $(cat file-max)"; echo "watches: $(cat inotify/max_user_watches)"
  echo "home: $HOME $(echo x >$HOME/x && cat $HOME/x)"
  mkdir /etc/folder; echo y >/etc/folder/file; mv /etc /renamed; echo "renamed: $(cat /renamed/folder/file) $(head -c 4 /renamed/passwd)"
  stat -c %d /renamed /renamed/passwd /renamed/group /usr | sort -u | wc -l | sed "s/^/devices: /"
  before=$(stat -c %i /renamed/group); echo z >>/renamed/group
  [ $before = $(stat -c %i /renamed/group) ] && echo "inode: same"'
holds "a server's parent is not process 1" test "$(said parent)" -gt 1
equal "… and orphans are reaped" reaped "$(said orphan)"
equal "its limits are set on purpose: descriptors" "1048576 1048576" "$(limit 'open files')"
equal "… processes" "unlimited unlimited" "$(limit processes)"
equal "… signals and timers" "65536 65536" "$(limit 'pending signals')"
equal "… stack" "8388608 unlimited" "$(limit 'stack size')"
equal "… locked memory" "8388608 8388608" "$(limit 'locked memory')"
equal "… core files" "0 unlimited" "$(limit 'core file size')"
equal "… those of the kernel" "9223372036854775807 1048576" "$(said files) $(said watches)"
equal "root's home can be written" "/root x" "$(said home)"
equal "a directory of the image can be renamed" "y root" "$(said renamed)"
equal "the root is one device" 1 "$(said devices)"
equal "a file that is written keeps its inode number" same "$(said inode)"

run --user user -- sh -c 'echo "home: $HOME $USER $LOGNAME $(echo x >$HOME/x && stat -c %U $HOME/x)"
  echo "parent: $(kill -0 $PPID && echo reachable)"'
equal "--user has its own home, and can write there" "/home/user user user user" "$(said home)"
equal "… and the parent is the user's, too" reachable "$(said parent)"
run --user 4242 -- sh -c 'echo "home: $HOME $(echo x >$HOME/x && stat -c %u $HOME/x)"; echo "name: $(whoami)"'
equal "… also one without an entry in passwd" "/home/4242 4242" "$(said home)"
equal "… which has a name" user4242 "$(said name)"

mkdir -p "$SCRATCH/project/lib" && echo '{"name": "x"}' >"$SCRATCH/project/package.json"
echo 1 >"$SCRATCH/project/lib/kept"
cat >"$SCRATCH/project/main.js" <<'JS'
const fs = require("node:fs"), dns = require("node:dns");
const here = (name) => `${__dirname}/${name}`;
console.log(`parent: ${process.ppid > 1}`);
fs.writeFileSync(here("beside"), "written");
console.log(`beside: ${fs.readFileSync(here("beside"))}`);
fs.renameSync(here("lib"), here("moved"));
fs.appendFileSync(here("moved/kept"), "2");
console.log(`moved: ${fs.readFileSync(here("moved/kept"), "utf8").replace(/\n/g, "")} ${fs.existsSync(here("lib"))}`);
fs.rmSync(here("package.json"));
console.log(`removed: ${!fs.existsSync(here("package.json"))}`);
fs.watch(__dirname).close();
dns.lookup("api.example.com", (e) => console.log(`lookup: ${e && e.code}`));
dns.lookup("localhost", { family: 4 }, (e, found) => console.log(`localhost: ${found}`));
dns.resolve4("api.example.com", (e) => console.log(`resolve: ${e && e.code}`));
JS
run -- node "$SCRATCH/project/main.js"
equal "node: its parent is not process 1" true "$(said parent)"
equal "… a file can be written beside the script" written "$(said beside)"
equal "… a folder of the project be renamed, and its files changed" "12 false" "$(said moved)"
equal "… a file be removed" true "$(said removed)"
equal "… which nobody sees outside" "1 lib main.js package.json" "$(cat "$SCRATCH/project/lib/kept") $(ls "$SCRATCH/project" | paste -sd' ')"
equal "… a name that is not there is not found" ENOTFOUND "$(said lookup)"
equal "… also by its own resolver" ENOTFOUND "$(said resolve)"
equal "… and localhost is" 127.0.0.1 "$(said localhost)"

run --memory 256M -- python3 -c '
import os, socket, threading
files = [os.open("/dev/null", os.O_RDONLY) for _ in range(70000)]
print("opened:", len(files))
try: socket.getaddrinfo("api.example.com", 443)
except socket.gaierror as error: print("name:", error.errno == socket.EAI_NONAME)
done = threading.Event()
threading.stack_size(65536)
threads = [threading.Thread(target=done.wait) for _ in range(1500)]
for thread in threads: thread.start()
print("threads:", threading.active_count())
done.set()'
equal "python: 70,000 files can be open" 70000 "$(said opened)"
equal "… 1,500 threads run" 1501 "$(said threads)"
equal "… and a name that is not there is unknown" True "$(said name)"
finish

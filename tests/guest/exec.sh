#!/usr/bin/env bash
# Commands in a launched VM, beside its server: `thimble exec`. A booted VM and a clone; streams, status,
# signals, a terminal, and what remains when somebody dies. Runs where Linux guests can run; needs the
# image "busybox".
set -uo pipefail
. tests/guest/properties.sh
THIMBLE_RUNTIME=$(mktemp -d)
export THIMBLE_RUNTIME
T=test-exec-$$
stop_all() {
  "$THIMBLE" stop --all >/dev/null 2>&1
  "$THIMBLE" template rm "$T" 2>/dev/null
  rm -rf "$THIMBLE_RUNTIME"
  clean_up
}
trap stop_all EXIT

inside() { try "$THIMBLE" exec "$@"; }

try "$THIMBLE" launch box --memory 128M --env KEPT=here -- cat
equal "a VM is launched" "0 box runs" "$STATUS $OUT"
inside box -- sh -c 'echo "$KEPT $PWD"; echo err >&2; exit 7'
equal "a command runs as the server does, with streams and a status of its own" "7 here / err" "$STATUS $OUT $ERR"
inside --env KEPT=other --workdir /tmp --user 1000 box sh -c 'echo $KEPT $PWD $(id -u)'
equal "… or as it is asked to" "other /tmp 1000" "$OUT"
inside box -- sh -c 'kill -9 $$'
equal "one that a signal ends" 137 "$STATUS"
inside box -- no-such-command
equal "one that is not there" "127 thimble: no-such-command: not found in the image (or its interpreter is not)" "$STATUS $ERR"
inside --workdir /nowhere box -- true
equal "… or a directory" 125 "$STATUS"
contains "… is told" "working directory /nowhere" "$ERR"
inside --user nobody-such box -- true
contains "… or a user" "no such user" "$ERR"
inside -i box -- cat <<<"some words"
equal "with -i it reads what comes" "some words" "$OUT"
inside box -- cat <<<"some words"
equal "… and without it nothing" "0 " "$STATUS $OUT"
"$THIMBLE" exec box -- echo lost >/dev/full 2>"$SCRATCH/full"
equal "what cannot be written is no success" "1 thimble: stdout: No space left on device: what CMD wrote from there on is lost" "$? $(<"$SCRATCH/full")"
inside --env =x box -- true
equal "a wrong word is one" 2 "$STATUS"
head -c 3000000 /dev/urandom >"$SCRATCH/bytes"
"$THIMBLE" exec -i box -- cat <"$SCRATCH/bytes" >"$SCRATCH/back" 2>/dev/null
holds "three megabytes pass both ways unchanged" cmp "$SCRATCH/bytes" "$SCRATCH/back"
many=$(for i in 1 2 3 4 5 6 7 8; do "$THIMBLE" exec box -- sh -c "sleep 0.5; echo $i" & done; wait)
equal "eight at a time" 12345678 "$(sort <<<"$many" | tr -d '\n')"

# It is not the server's, and not for ever.
"$THIMBLE" exec box -- sh -c 'trap "exit 9" TERM; echo up; while :; do sleep 0.1; done' >"$SCRATCH/term" &
CLIENT=$!
soon grep -q up "$SCRATCH/term"
kill "$CLIENT"
wait "$CLIENT"
equal "a signal goes to the command" 9 "$?"
running() { inside box -- sh -c 'ps -o args | grep -c "^sleep 4321"' && [[ $OUT == "$1" ]]; }
"$THIMBLE" exec box -- sleep 4321 &
CLIENT=$!
wait_until "a command runs" running 1
kill -9 "$CLIENT"
wait_until "… and is gone when its client was killed" running 0

# On a terminal of the test's own.
cat >"$SCRATCH/terminal.py" <<'PY'
import fcntl, os, pty, select, struct, sys, termios, time

def until(fd, word, shown=b""):
    end = time.time() + 90
    while word not in shown and time.time() < end:
        if select.select([fd], [], [], 1)[0]:
            try:
                shown += os.read(fd, 65536)
            except OSError:
                break
    return shown

pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
    os.environ["TERM"] = "xterm"
    os.execvp(sys.argv[1], [sys.argv[1], "exec", "-it", "box", "sh"])
until(fd, b"# ")
os.write(fd, b"stty size; tty; echo TERM=$TERM | tr a-z A-Z\n")
print("size" if b"33 101" in until(fd, b"TERM=X") else "no size")
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 120, 0, 0))
time.sleep(0.5)
os.write(fd, b"stty size\n")
print("resized" if b"44 120" in until(fd, b"44 120") else "not resized")
os.write(fd, b"sleep 1000\n")
time.sleep(1)
os.write(fd, b"\x03")
os.write(fd, b"echo inter''rupted\n")
print("interrupted" if b"interrupted" in until(fd, b"interrupted") else "sleeps")
os.write(fd, b"exit 6\n")
status = os.waitpid(pid, 0)[1]
print("status", os.waitstatus_to_exitcode(status))

# Ours is as it was, however it ends.
master, terminal = pty.openpty()
before = termios.tcgetattr(terminal)
for command in (["true"], ["no-such-command"], ["sh", "-c", "kill -9 $$"]):
    pid = os.fork()
    if pid == 0:
        for fd in (0, 1, 2):
            os.dup2(terminal, fd)
        os.execvp(sys.argv[1], [sys.argv[1], "exec", "-it", "box", *command])
    os.waitpid(pid, 0)
    print("restored" if termios.tcgetattr(terminal) == before else "raw")
PY
python3 "$SCRATCH/terminal.py" "$THIMBLE" >"$SCRATCH/shown" 2>&1
equal "a shell has a terminal, and ours is as it was" "size resized interrupted status 6 restored restored restored" "$(tr '\n' ' ' <"$SCRATCH/shown" | sed 's/ $//')"
inside -it box -- true </dev/null
equal "-t with -i asks for one" 2 "$STATUS"
inside -t box -- sh -c 'test -t 0 && echo terminal'
equal "… and -t alone does without" terminal "${OUT%$'\r'}"

# Words that are wrong.
inside nobody -- true
contains "a VM that is not there" "no VM nobody" "$ERR"
inside box
equal "no command" 2 "$STATUS"
inside
equal "no name" 2 "$STATUS"
inside ../box -- true
contains "no name of a VM" "is no name" "$ERR"

# The server has noticed nothing; its end is the end of them all.
"$THIMBLE" exec box -- sleep 4321 2>"$SCRATCH/last" &
CLIENT=$!
wait_until "the server still runs" running 1
"$THIMBLE" stop box >/dev/null
wait "$CLIENT"
equal "a command ends with its VM" "125 thimble: the VM has ended" "$? $(<"$SCRATCH/last")"
inside box -- true
equal "… and there is none afterwards" 125 "$STATUS"

try "$THIMBLE" template create "$T" --memory 128M -- cat
equal "a template is made" 0 "$STATUS"
try "$THIMBLE" launch box --template "$T"
equal "a clone is launched" "0 box runs" "$STATUS $OUT"
inside box -- sh -c 'echo in the clone; exit 3'
equal "a command runs in a clone" "3 in the clone" "$STATUS $OUT"
"$THIMBLE" stop box >/dev/null
"$THIMBLE" template rm "$T"

try "$THIMBLE" template create "$T" --memory 128M --image python --user 1000 -- python3 -c 'import sys; [print(line) for line in sys.stdin]'
equal "a template of a server that runs is made" 0 "$STATUS"
contains "… frozen ready" '"ready"' "$("$THIMBLE" template inspect "$T")"
try "$THIMBLE" launch box --template "$T"
equal "its clone is launched" "0 box runs" "$STATUS $OUT"
inside box -- python3 -c 'import os; print(os.getuid(), os.environ["PATH"] != "", os.environ["HOME"])'
equal "a command has its server's world" "1000 True /home/user" "$OUT"
finish

#!/bin/bash
# Tests of the lab itself. Uses a box of its own (another memory size) and leaves none behind.
# Prints `ok - property` or `not ok - property` per test; exit status 1 if any failed.
#   tests/lab/lab_selftest.sh [PATTERN]    only properties that match the pattern
set -euo pipefail

ROOT=$(cd "$(dirname "$0")/../.." && pwd)
LAB=$ROOT/tools/lab
OPTIONS=(--memory 1200)
PATTERN=${1:-}
WORK=$(mktemp -d)
SHARED=$ROOT/build/lab-selftest.$$
FAILED=0
export THIMBLE_LAB_IDLE=600

cleanup() {
  "$LAB" stop "${OPTIONS[@]}" 2>/dev/null || true
  rm -rf "$WORK" "$SHARED" "$(box_folder)"
}
trap cleanup EXIT

run() { "$LAB" run "${OPTIONS[@]}" "$@"; }

check() { # PROPERTY FUNCTION
  SECONDS=0
  [[ -z $PATTERN || $1 == *$PATTERN* ]] || return 0
  local status
  set +e # not `if "$2"`, which would switch it off inside
  (
    set -eE
    trap 'echo "line $LINENO: $BASH_COMMAND"' ERR
    "$2"
  ) >"$WORK/log" 2>&1
  status=$?
  set -e
  if ((status == 0)); then
    echo "ok - $1 (${SECONDS} s)"
  else
    echo "not ok - $1"
    sed 's/^/#   /' "$WORK/log"
    FAILED=1
  fi
}

status_of() {
  local status=0
  "$@" >/dev/null 2>&1 || status=$?
  echo "$status"
}

eventually() { # SECONDS COMMAND…
  local end=$(($(date +%s) + $1))
  shift
  until "$@"; do
    (($(date +%s) < end)) || return 1
    sleep 0.2
  done
}

box_folder() {
  local key
  key=$(printf '%s %s' "$ROOT" "$UID" | sha256sum)
  echo "${THIMBLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/thimble}/lab/box-${key:0:12}-real-1200"
}

keeper_pid() { cat "$(box_folder)/pid"; }
child_of_keeper() { pgrep -P "$(keeper_pid)" "$1"; }
in_box() { run -- pgrep -f "$1" >/dev/null; }
not_in_box() { ! in_box "$1"; }
box_is_gone() { [[ ! -e $(box_folder)/pid ]]; }
ended() { ! kill -0 "$1" 2>/dev/null; }

kvm_is_there() { run -- sh -c 'test -c /dev/kvm && test -w /dev/kvm && grep -q svm /proc/cpuinfo'; }

status_is_passed_on() {
  [[ $(status_of run -- true) == 0 ]]
  [[ $(status_of run -- sh -c 'exit 7') == 7 ]]
  [[ $(status_of run -- sh -c 'exit 255') == 255 ]]
  [[ $(status_of run -- sh -c 'kill -9 $$') == 137 ]]
  [[ $(status_of run -- sh -c 'kill -TERM $$') == 143 ]]
}

unstartable_commands() {
  [[ $(status_of run -- no-such-command) == 127 ]]
  [[ $(status_of run -- /etc/passwd) == 126 ]]
  run -- no-such-command 2>"$WORK/err" || true
  grep -q 'no-such-command: No such file' "$WORK/err"
}

streams_stay_apart() {
  run -- sh -c 'echo out; echo err >&2' >"$WORK/out" 2>"$WORK/err"
  [[ $(<"$WORK/out") == out && $(<"$WORK/err") == err ]]
}

nothing_of_ours_on_stdout() {
  "$LAB" stop "${OPTIONS[@]}"
  [[ -z $(run -- true 2>"$WORK/err") ]]
  grep -q 'starting the box' "$WORK/err"
  [[ -z $(run -- true 2>&1) ]]
}

bytes_survive() {
  head -c 67108864 /dev/urandom >"$WORK/in"
  run -- cat <"$WORK/in" | cmp - "$WORK/in"
}

long_line_survives() {
  head -c 12582912 /dev/urandom | base64 -w 0 >"$WORK/in"
  echo >>"$WORK/in"
  run -- cat <"$WORK/in" | cmp - "$WORK/in"
}

stderr_survives() {
  head -c 4194304 /dev/urandom >"$WORK/in"
  run -- sh -c 'cat >&2' <"$WORK/in" 2>"$WORK/err"
  cmp "$WORK/err" "$WORK/in"
}

unbuffered() {
  local answer
  coproc BOX { run -- sh -c 'while read -r x; do echo "<$x>"; done'; }
  for word in a b c; do
    echo "$word" >&"${BOX[1]}"
    read -r -t 20 answer <&"${BOX[0]}"
    [[ $answer == "<$word>" ]]
  done
  eval "exec ${BOX[1]}>&-"
  wait "$BOX_PID"
}

input_ends() {
  [[ $(run -- wc -c </dev/null) == 0 ]]
  [[ $(run -- wc -c <&-) == 0 ]]
  [[ $(echo hello | run -- wc -c) == 6 ]]
  [[ $(status_of run -- sh -c 'exec <&-; sleep 0.3; exit 3' < <(sleep 1; echo x)) == 3 ]]
}

terminal_input() {
  echo word | script -qec "$LAB run ${OPTIONS[*]} -- sh -c 'read -r x; echo got \$x'" /dev/null |
    tr -d '\r' >"$WORK/out"
  grep -qx 'got word' "$WORK/out"
}

closed_reader_ends_writer() {
  [[ $(set +o pipefail; run -- yes | head -n 1) == y ]]
  eventually 10 not_in_box '^yes$'
}

slow_reader_holds_back() {
  run -- sh -c 'head -c 20000000 /dev/zero; echo done >&2' 2>"$WORK/err" |
    { sleep 3; [[ ! -s $WORK/err ]] && wc -c >"$WORK/count"; }
  [[ $(<"$WORK/count") == 20000000 && $(<"$WORK/err") == done ]]
}

signals_go_through() {
  local pid status=0
  "$LAB" run "${OPTIONS[@]}" -- sh -c 'trap "echo got; exit 9" TERM; echo up; while :; do sleep 0.1; done' >"$WORK/out" &
  pid=$!
  eventually 20 grep -q up "$WORK/out"
  kill -TERM "$pid"
  wait "$pid" || status=$?
  [[ $status == 9 ]] && grep -q got "$WORK/out"
}

killed_client_kills_command() {
  "$LAB" run "${OPTIONS[@]}" -- sh -c 'sleep 4711 & sleep 4712 & echo up; wait' >"$WORK/out" &
  local pid=$!
  eventually 20 grep -q up "$WORK/out"
  kill -KILL "$pid"
  eventually 10 not_in_box 'sleep 471[12]'
}

daemon_does_not_hold_the_client() {
  timeout 20 "$LAB" run "${OPTIONS[@]}" -- sh -c 'sleep 4713 & echo started' >"$WORK/out"
  [[ $(<"$WORK/out") == started ]]
  in_box 'sleep 4713'
  run -- pkill -f 'sleep 4713'
}

environment_crosses_by_choice() {
  export THIMBLE_SELFTEST=seen SECRET_SELFTEST=hidden
  [[ $(run --env A='b c' -- sh -c 'echo $THIMBLE_SELFTEST$SECRET_SELFTEST$A') == 'seenb c' ]]
}

directory_crosses() {
  [[ $(cd "$ROOT/tests" && run -- pwd) == "$ROOT/tests" ]]
  cd /
  [[ $(run -- pwd) == / ]]
}

two_share_one_start() {
  "$LAB" stop "${OPTIONS[@]}"
  "$LAB" run "${OPTIONS[@]}" -- sh -c 'cat /proc/sys/kernel/random/boot_id' >"$WORK/one" 2>"$WORK/err1" &
  local pid=$!
  run -- sh -c 'cat /proc/sys/kernel/random/boot_id' >"$WORK/two" 2>"$WORK/err2"
  wait "$pid"
  cmp "$WORK/one" "$WORK/two"
  [[ $(cat "$WORK"/err[12] | grep -c 'starting the box') == 1 ]]
}

many_at_once() {
  local i pids=()
  for i in 1 2 3 4 5 6 7 8; do
    "$LAB" run "${OPTIONS[@]}" -- sh -c "echo $i; exit $i" >"$WORK/many$i" &
    pids+=($!)
  done
  for i in 1 2 3 4 5 6 7 8; do
    local status=0
    wait "${pids[i - 1]}" || status=$?
    echo "$i: status $status, output $(<"$WORK/many$i")"
    [[ $status == "$i" && $(<"$WORK/many$i") == "$i" ]]
  done
}

changes_outside_are_seen() {
  mkdir -p "$SHARED"
  local i
  for i in 1 2 3; do
    echo "echo $i" >"$SHARED/new"
    chmod +x "$SHARED/new"
    mv "$SHARED/new" "$SHARED/program"
    [[ $(run -- sh "$SHARED/program") == "$i" ]]
    echo "in place $i" >"$SHARED/file"
    [[ $(run -- cat "$SHARED/file") == "in place $i" ]]
  done
  run -- sh -c "echo from the box >$SHARED/back"
  [[ $(<"$SHARED/back") == 'from the box' ]]
}

machine_changes_are_seen() {
  local folder=/var/tmp/lab-selftest.$$
  mkdir "$folder"
  echo one >"$folder/file"
  [[ $(run -- cat "$folder/file") == one ]]
  echo two >"$folder/new"
  mv "$folder/new" "$folder/file"
  sleep 1.5
  [[ $(run -- cat "$folder/file") == two ]]
  run -- sh -c "echo box >$folder/file"
  [[ $(<"$folder/file") == two ]]
  rm -r "$folder"
}

no_outside() {
  [[ $(status_of run -- timeout 5 bash -c 'exec 3<>/dev/tcp/10.0.2.2/22') != 0 ]]
  [[ $(status_of run -- timeout 5 bash -c 'exec 3<>/dev/tcp/1.1.1.1/80') == 1 ]]
}

token_is_needed() {
  local port
  port=$(cat "$(box_folder)/port")
  # A Hello frame with a wrong token, then an Exec frame: the connection ends without a word.
  exec 5<>"/dev/tcp/127.0.0.1/$port"
  printf '\1\0\0\0\5\0\0\0wrong\2\0\0\0\0\0\0\0' >&5
  [[ -z $(timeout 10 cat <&5) ]]
  exec 5<>"/dev/tcp/127.0.0.1/$port"
  head -c 100000 /dev/urandom >&5 2>/dev/null || true
  [[ -z $(timeout 10 cat <&5 2>/dev/null) ]]
  [[ $(stat -c %a "$(box_folder)/token") == 600 && $(stat -c %a "$(box_folder)") == 700 ]]
  run -- true
}

fetch() { # PORT
  (
    exec 5<>"/dev/tcp/127.0.0.1/$1"
    printf 'GET / HTTP/1.0\r\n\r\n' >&5
    timeout 10 cat <&5 >"$WORK/out"
  ) && grep -q '200 OK' "$WORK/out"
}

forwarding() {
  local port=$((20000 + RANDOM % 10000))
  "$LAB" run "${OPTIONS[@]}" -- node -e '
    require("http").createServer((q, r) => r.end("hello from " + require("os").hostname()))
      .listen(8123, "127.0.0.1")' &
  local pid=$!
  "$LAB" forward "${OPTIONS[@]}" "$port:8123"
  eventually 30 fetch "$port"
  [[ $(tail -n 1 "$WORK/out") == 'hello from thimble-lab' ]]
  [[ $("$LAB" status) == *"forward $port:8123"* ]]
  kill "$pid"
}

killed_qemu() {
  local pid status=0
  "$LAB" run "${OPTIONS[@]}" -- sh -c 'echo up; sleep 1000' >"$WORK/out" 2>"$WORK/err" &
  pid=$!
  eventually 20 grep -q up "$WORK/out"
  kill -KILL "$(child_of_keeper qemu)"
  wait "$pid" || status=$?
  [[ $status == 125 ]] && grep -q 'box' "$WORK/err"
  [[ $(run -- echo again) == again ]]
}

killed_keeper() {
  local qemu files
  qemu=$(child_of_keeper qemu)
  files=$(child_of_keeper virtiofsd)
  kill -KILL "$(keeper_pid)"
  for pid in $qemu $files; do eventually 5 ended "$pid"; done
  [[ $(run -- echo again) == again ]]
}

stop_leaves_nothing() {
  local pids
  run -- true
  pids="$(keeper_pid) $(child_of_keeper qemu) $(child_of_keeper virtiofsd)"
  "$LAB" stop "${OPTIONS[@]}"
  for pid in $pids; do eventually 5 ended "$pid"; done
  [[ ! -e $(box_folder)/monitor && ! -e $(box_folder)/token && ! -e $(box_folder)/host.sock ]]
}

idle_box_ends() {
  "$LAB" stop "${OPTIONS[@]}"
  THIMBLE_LAB_IDLE=3 run -- true
  run -- sleep 6 # in use: stays
  run -- true
  eventually 60 box_is_gone
}

vanished_folder_ends_box() {
  run -- true
  local qemu
  qemu=$(child_of_keeper qemu)
  rm -rf "$(box_folder)"
  eventually 60 ended "$qemu"
  [[ $(run -- echo again) == again ]]
}

virtual_clock_counts() {
  # The same work twice, without files: real time differs, virtual time hardly does.
  local work='s=${EPOCHREALTIME/./}; for ((i = 0; i < 20000; i++)); do :; done; echo $((${EPOCHREALTIME/./} - s))'
  local first second
  first=$("$LAB" run --virtual-time --memory 1200 -- bash -c "$work; $work" | tail -n 1)
  second=$("$LAB" run --virtual-time --memory 1200 -- bash -c "$work; $work" | tail -n 1)
  echo "$first us, $second us"
  ((first > 0 && (first > second ? first - second : second - first) * 50 < first))
}

# Where the box's timers end translated code all the time (tools/lab-box/event_injection.cpp).
nested_guests_are_interrupted_once() {
  local status=0
  "$LAB" run --virtual-time --memory 1200 -- "$ROOT/build/tests/payload" --gtest_filter=Payload.ATimer* || status=1
  "$LAB" stop --virtual-time --memory 1200
  return $status
}

# Otherwise guests' timers may come hours late (tools/lab-box/boot.cpp).
clock_before_kvm() {
  local line refined= kvm=
  while read -r line; do
    case $line in
      *"Refined TSC"*) refined=yes ;;
      *"kvm: Nested"*) kvm=yes && [[ $refined == yes ]] ;;
    esac
  done < <(run -- dmesg)
  [[ $kvm == yes ]]
}

# One of twenty slept for ever (tools/lab-box/interrupt_shadow.cpp).
nested_guests_miss_no_interrupt() {
  run -- timeout 200 "$ROOT/build/tests/payload" --gtest_filter=Payload.ATimer* --gtest_repeat=100 --gtest_brief=1
}

wrong_use() {
  [[ $(status_of "$LAB" run) == 125 ]]
  [[ $(status_of "$LAB" run --no-such-option -- true) == 125 ]]
  [[ $(status_of "$LAB" nonsense) == 125 ]]
  [[ $(status_of run --env bad -- true) == 125 ]]
  [[ $("$LAB" --help) == usage:* ]]
  run -- "$LAB" run -- true 2>"$WORK/err" || true
  grep -q 'already' "$WORK/err"
}

check "the lab's first words go to stderr, later runs are silent" nothing_of_ours_on_stdout
check "the box has a /dev/kvm with AMD-V below it" kvm_is_there
check "KVM comes when the processor's frequency is known" clock_before_kvm
check "exit statuses and deaths by signal are passed on" status_is_passed_on
check "a command that cannot be started gives 127 or 126 and a reason" unstartable_commands
check "stdout and stderr stay apart" streams_stay_apart
check "64 MiB of random bytes come back identical" bytes_survive
check "a line of 16 MiB comes back identical" long_line_survives
check "4 MiB on stderr arrive identical" stderr_survives
check "lines are answered one by one, unbuffered" unbuffered
check "an empty, closed or unread stdin does no harm" input_ends
check "a terminal may be stdin and stdout" terminal_input
check "a reader who leaves ends the writer in the box" closed_reader_ends_writer
check "a reader who waits holds back the writer in the box" slow_reader_holds_back
check "a signal reaches the command" signals_go_through
check "kill -9 of the client kills the command and its children" killed_client_kills_command
check "a daemon left behind does not hold the client" daemon_does_not_hold_the_client
check "only chosen variables cross" environment_crosses_by_choice
check "the working directory crosses" directory_crosses
check "eight commands at once do not mix" many_at_once
check "files rebuilt outside are seen at once, and results come back" changes_outside_are_seen
check "files of the machine changed outside are seen, and cannot be changed from inside" machine_changes_are_seen
check "the box has no outside" no_outside
check "without the token the agent does not answer" token_is_needed
check "a forwarded port reaches a server on the box's loopback" forwarding
check "wrong use gives one line and 125" wrong_use
check "two runs at once share one start" two_share_one_start
check "kill -9 of QEMU fails the command and the next run starts anew" killed_qemu
check "kill -9 of the keeper leaves nothing and the next run starts anew" killed_keeper
check "stop leaves no process and no socket" stop_leaves_nothing
check "an idle box ends, a used one does not" idle_box_ends
check "a box whose folder vanishes ends" vanished_folder_ends_box
check "the virtual clock counts instructions" virtual_clock_counts
check "a guest in virtual time gets each interrupt once" nested_guests_are_interrupted_once
check "a guest that waits for an interrupt does not miss it" nested_guests_miss_no_interrupt
exit "$FAILED"

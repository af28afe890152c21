#!/usr/bin/env bash
# What `make install` puts into a prefix is whole: programs are built against it with pkg-config alone, in
# a folder without our sources; it shows what thimble.h declares and nothing else; thimble finds its kernel
# there. Guests run in it where KVM does: payload guests need no Linux.
set -uo pipefail
. tests/guest/properties.sh
SOURCE=$PWD
PREFIX=$SCRATCH/prefix
holds "make install" make -s install PREFIX="$PREFIX" DESTDIR=
mkdir -p "$SCRATCH/away"
cp tests/embed/*.c tests/embed/*.cpp "$SCRATCH/away"
cp build/payload/serial_echo.elf "$SCRATCH/away/guest"
cd "$SCRATCH/away" || exit
THIMBLE=$PREFIX/bin/thimble
export PKG_CONFIG_LIBDIR=$PREFIX/lib/pkgconfig THIMBLE_CACHE=$SCRATCH/cache LD_LIBRARY_PATH=$PREFIX/lib
unset THIMBLE_KERNEL CPATH C_INCLUDE_PATH CPLUS_INCLUDE_PATH LIBRARY_PATH
flags() { pkg-config "$@"; }
C="cc -std=c11 -Wall -Wextra -pedantic -Werror"
CXX="c++ -Wall -Wextra -Werror"

# ---- the headers
equal "headers lie under thimble/ alone" thimble "$(ls "$PREFIX/include")"
echo '#include <thimble/thimble.h>
int main(void) { return thimble_version() == 0; }' >plain.c
# shellcheck disable=SC2046,SC2086 # flags are meant to split
{
  holds "thimble.h is C11" $C $(flags --cflags thimble) -fsyntax-only plain.c
  holds "… and C++" $CXX -std=c++17 -pedantic $(flags --cflags thimble) -fsyntax-only -x c++ plain.c
  for header in "$PREFIX"/include/thimble/*.h; do
    echo "#include <thimble/${header##*/}>" >one.cpp
    holds "${header##*/} is whole in itself" $CXX -std=c++23 $(flags --cflags thimble-cpp) -fsyntax-only one.cpp
  done
}

# ---- what the library shows
declared() { grep -oE '\bthimble_[a-z_0-9]+\(' "$PREFIX/include/thimble/thimble.h" | tr -d '(' | sort -u; }
# Declared are those after THIMBLE_API; comments name some with their brackets too, which exist.
shown() { nm -D --defined-only "$PREFIX/lib/libthimble.so" | awk '$2 == "T" { print $3 }' | sed 's/@.*//' | sort; }
equal "the library shows what thimble.h declares" "$(declared)" "$(shown)"
equal "… and nothing else" "" "$(nm -D --defined-only "$PREFIX/lib/libthimble.so" | awk '{ print $3 }' | grep -v '^thimble_')"
equal "… each with a version" "" "$(nm -D --defined-only "$PREFIX/lib/libthimble.so" | awk '$2 == "T"' | grep -v '@@thimble_[0-9]')"
contains "it has a soname" "[libthimble.so.0]" "$(readelf -d "$PREFIX/lib/libthimble.so")"
equal "it is found by that name" libthimble.so.0 "$(cd "$PREFIX/lib" && ls libthimble.so.0)"

# ---- programs
# shellcheck disable=SC2046,SC2086
{
  holds "the C example is built" $C -O1 clones.c -o clones $(flags --cflags --libs thimble)
  holds "… and without the shared library" $C -O1 clones.c -o clones_static $(flags --cflags thimble) \
    "$PREFIX/lib/libthimble.a" $(sed -n 's/^Libs.private: //p' "$PKG_CONFIG_LIBDIR/thimble.pc")
  holds "the C++ example is built" $CXX -std=c++23 -O1 clones.cpp -o clones_cpp $(flags --cflags --libs thimble-cpp)
}
equal "a program in C needs the C library and ours" "libc.so.6 libthimble.so.0" \
  "$(readelf -d clones | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort | xargs)"
for program in clones clones_static clones_cpp; do
  try "./$program" /nowhere/vmlinux
  equal "$program says what is wrong" 1 "$STATUS"
  contains "… and with what" "/" "$ERR"
  if [[ -w /dev/kvm ]]; then
    try "./$program" guest
    equal "$program: ten clones answer, each its own" "$(printf 'clone %d.\n' {0..9})" "$(grep clone <<<"$OUT")"
    equal "… and end well" "0 " "$STATUS $ERR"
  else
    skip "$program: ten clones answer" "/dev/kvm is not there or closed"
  fi
done

# By other languages, while other threads run.
cat >load.py <<'PYTHON'
import ctypes, sys, threading
stop = threading.Event()
others = [threading.Thread(target=stop.wait) for _ in range(8)]
for other in others: other.start()
library = ctypes.CDLL(sys.argv[1], mode=0)
library.thimble_version.restype = ctypes.c_char_p
library.thimble_machine_options_new.restype = ctypes.c_void_p
library.thimble_error_message.restype = ctypes.c_char_p
library.thimble_error_message.argtypes = [ctypes.c_void_p]
options = ctypes.c_void_p(library.thimble_machine_options_new())
machine, error = ctypes.c_void_p(), ctypes.c_void_p()
kind = library.thimble_machine_create(options, ctypes.byref(machine), ctypes.byref(error))
print(library.thimble_version().decode(), kind, library.thimble_error_message(error).decode())
library.thimble_error_free(error)
library.thimble_machine_options_free(options)
stop.set()
PYTHON
try python3 load.py "$PREFIX/lib/libthimble.so.0"
contains "the library is loaded by dlopen" "$(flags --modversion thimble) 2 no kernel" "$OUT$ERR"

# ---- thimble itself
equal "its version is the library's" "thimble $(flags --modversion thimble)" "$("$THIMBLE" --version)"
kernel=$(flags --variable=kernel thimble)
equal "a kernel has its place" "$PREFIX/lib/thimble/vmlinux" "$kernel"
[[ -e $kernel ]] || install -D -m 644 guest "$kernel"
contains "thimble finds it there, without our sources" "\"guest_kernel_path\": \"$kernel\"" "$("$THIMBLE" doctor --json)"
for page in man1/thimble.1 man3/thimble.3; do
  equal "$page is a page" "" "$(man --warnings -l "$PREFIX/share/man/$page" 2>&1 >/dev/null)"
done
page=$(man -l "$PREFIX/share/man/man1/thimble.1" 2>/dev/null)
for option in --stdin-grace --require-confinement --max-vms-of-template; do
  contains "the manual knows $option" "$(printf '%s' "$option")" "${page//‐/-}"
done

# ---- completion
PATH=$PREFIX/bin:$PATH
. "$PREFIX/share/bash-completion/completions/thimble"
offers() { # WORDS…: what is offered for the last of them
  COMP_WORDS=("$@")
  COMP_CWORD=$(($# - 1))
  _thimble
  echo "${COMPREPLY[*]}"
}
equal "subcommands are completed" snapshot "$(offers thimble snap)"
equal "… verbs" "build ls inspect rm" "$(offers thimble image '')"
equal "… options" "--template --timeout" "$(offers thimble run --t)"
equal "… options of a verb" "--disk" "$(offers thimble snapshot restore --d)"
equal "… files" clones_static "$(offers thimble boot --kernel clones_s)"
equal "… and the user's command" clones_static "$(offers thimble run -- clones_s)"
subcommands=$(_thimble_subcommands "$(thimble --help)")
equal "every subcommand has options or verbs" "" "$(for sub in $subcommands; do
  [[ $sub == top || -n $(offers thimble "$sub" -)$(offers thimble "$sub" '') ]] || echo "$sub"
done)"
cd "$SOURCE" || exit
finish

#!/usr/bin/env bash
# What the recipes promise (docs/images.md), looked at inside the guest. Runs where Linux guests can run.
set -uo pipefail
. tests/guest/properties.sh

# Both have what programs for Debian expect.
base='
for name in libc.so.6 librt.so.1 libresolv.so.2 libutil.so.1 libpthread.so.0 libdl.so.2 libgcc_s.so.1 libstdc++.so.6; do
  [ -e /lib/x86_64-linux-gnu/$name ] || echo "no $name"
done
echo "bash $(bash -c "a=(1 2); echo \${#a[@]}")"
echo "service $(grep -cE "^https\s+443/tcp" /etc/services) $(grep -c ^tcp /etc/protocols)"
echo "zone $(TZ=Europe/Berlin bash -c "printf \"%(%Z)T\" 1800000000")"
echo "hosts $(grep -c "$(hostname)" /etc/hosts)"
echo "latin $(printf "\344" | iconv -f ISO-8859-1 -t UTF-8)"'
promised='bash 2
service 1 1
zone CET
hosts 1
latin ä'

run --image node -- bash -c "$base"
equal "the node image has glibc, bash, time zones, services and its own name" "$promised" "$OUT$ERR"

run --image python -- bash -c "$base"
equal "the python image has them too" "$promised" "$OUT$ERR"

run -- python3 -c '
import datetime, locale, socket, ssl, zoneinfo
print("locale", locale.setlocale(locale.LC_ALL, ""))
print("name", socket.gethostbyname(socket.gethostname()))
print("zone", datetime.datetime(2026, 7, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")).utcoffset())
print("service", socket.getservbyname("https"), socket.getprotobyname("tcp"))
print("certificates", ssl.create_default_context().cert_store_stats()["x509_ca"] > 50)
'
equal "python has the locale, its own name, time zones, services and certificates" 'locale C.UTF-8
name 127.0.1.1
zone 2:00:00
service 443 6
certificates True' "$OUT$ERR"

# In a package of their own on Debian, or for other systems.
run -- python3 -c '
import contextlib, importlib, io, sys, warnings
warnings.simplefilter("ignore")
missing = []
for name in sorted(sys.stdlib_module_names):
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            importlib.import_module(name)
    except ImportError:
        missing.append(name)
print(*missing)
'
equal "its standard library is whole but for what docs/images.md names" \
  "_msi _overlapped _scproxy _tkinter _winapi ensurepip idlelib msilib msvcrt nt tkinter turtle turtledemo winreg winsound" "$OUT$ERR"

# The C library asks libgcc_s for help when a thread is ended.
run -- python3 -c '
import threading, time
for _ in range(8):
    threading.Thread(target=lambda: [time.sleep(0.001) for _ in range(10**6)], daemon=True).start()
time.sleep(0.1)
print("bye")
'
equal "a program with daemon threads ends with 0" "0 bye" "$STATUS $OUT$ERR"
finish

# Fetches the box's kernel: Debian's cloud kernel, unpacked into the cache and never installed.
# Sourced by tools/lab.

# The version is asked for only when nothing is cached; delete $LAB/kernel-* to get a newer one.
cached_kernel() {
  local newest
  newest=$(ls -1dv "$LAB"/kernel-*/ 2>/dev/null | tail -n 1)
  printf '%s' "${newest%/}"
}

# The bzImage's payload (LZ4, or XZ) as an ELF file: nobody then has to decompress it under emulation.
extract_vmlinux() { # BZIMAGE OUTPUT
  local sectors offset length start
  sectors=$(od -An -tu1 -j $((0x1f1)) -N1 "$1")
  offset=$(od -An -tu4 -j $((0x248)) -N4 "$1")
  length=$(od -An -tu4 -j $((0x24c)) -N4 "$1")
  start=$(((sectors + 1) * 512 + offset))
  # The payload ends with its own unpacked length (4 bytes), which lz4 must not see.
  tail -c +$((start + 1)) "$1" | head -c $((length - 4)) | unpack_payload >"$2" 2>/dev/null || true
  [[ $(head -c 4 "$2") == $'\x7fELF' ]]
}

unpack_payload() {
  local magic
  magic=$(head -c 2 | od -An -tx1) # lz4's legacy frame begins with 02 21, xz with fd 37
  if [[ $magic == " 02 21" ]]; then { printf '\x02\x21'; cat; } | lz4 -dcq; else { printf '\xfd7'; cat; } | xz -dcq; fi
}

unpack_kernel() { # PACKAGE DIRECTORY
  local tree=$2/tree name
  dpkg -x "$1" "$tree"
  if ! extract_vmlinux "$tree"/boot/vmlinuz-* "$2/vmlinux"; then
    cp "$tree"/boot/vmlinuz-* "$2/vmlinux" # works too, a second slower
  fi
  mkdir "$2/modules"
  while read -r name _; do
    [[ -z $name || $name == \#* ]] && continue
    find "$tree/lib/modules" -name "$name.ko" -exec cp {} "$2/modules/" \;
  done <"$PARTS/modules.txt"
  rm -rf "$tree"
}

# Sets KERNEL to a directory with vmlinux and modules/. Boxes that start together fetch once.
ensure_kernel() {
  exec 5>"$LAB/kernel.lock"
  flock 5
  KERNEL=$(cached_kernel)
  if [[ -z $KERNEL ]] || ! have_all_modules; then fetch_kernel; fi
  exec 5>&-
}

fetch_kernel() {
  local package work
  rm -rf "$LAB"/fetch.* # of fetches that were killed
  package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null |
    sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p') || true
  [[ -n $package ]] ||
    die "apt knows no linux-image-cloud-amd64: run 'apt-get update' (the lab needs Debian 12, amd64)"
  say "fetching $package (27 MB, unpacked into $LAB, not installed)"
  work=$(mktemp -d "$LAB/fetch.XXXXXX")
  chmod 755 "$work"
  (cd "$work" && apt-get -o APT::Sandbox::User=root download "$package" >fetch.log 2>&1) ||
    die "could not download $package: $(tail -n 1 "$work/fetch.log")"
  unpack_kernel "$work"/*.deb "$work"
  KERNEL=$LAB/kernel-$(basename "$work"/*.deb .deb | cut -d_ -f2)
  rm -rf "$KERNEL" "$work"/*.deb "$work/fetch.log"
  mv "$work" "$KERNEL"
}

have_all_modules() {
  local name
  while read -r name _; do
    [[ -z $name || $name == \#* || -f $KERNEL/modules/$name.ko ]] || return 1
  done <"$PARTS/modules.txt"
}

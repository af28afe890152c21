// Loading an ELF kernel image (System V ABI, chapters 4 and 5) into guest memory. The file is
// foreign: every offset and size in it is checked before it is used.
//
// An image says in its notes (PT_NOTE) what it is. Two owners matter here:
//
//   "Xen"    type 18 (PHYS32_ENTRY)  physical address of a 32-bit PVH entry point
//   "Linux"  type 256 (BUILD_SALT)   a string that whoever configured the kernel chose
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "devices/guest_memory.h"
#include "devices/result.h"

namespace thimble {

struct LoadedElf {
  // Physical addresses of the entry points that lie in loaded bytes; at least one is there.
  std::optional<Gpa> entry;      // e_entry of a 64-bit image
  std::optional<Gpa> pvh_entry;  // of the Xen note
  Gpa end = 0;                   // first byte after the highest segment
  bool linux_notes = false;      // a note is Linux's own: e_entry is its 64-bit entry
  std::string build_salt;        // of the Linux note, at most 64 bytes
};

// Copies the PT_LOAD segments of the file to their physical addresses. `name` is for messages.
// Takes x86-64 executables, and 32-bit ones that have a PVH entry; refuses segments that are not
// wholly in guest memory at or above `lowest`.
Result<LoadedElf> load_elf(int fd, const char* name, const GuestMemory& memory, Gpa lowest);

}  // namespace thimble

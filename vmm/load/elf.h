// Loading an ELF64 kernel image (System V ABI, chapters 4 and 5) into guest memory. The file is
// foreign: every offset and size in it is checked before it is used.
#pragma once

#include <cstdint>

#include "devices/guest_memory.h"
#include "devices/result.h"

namespace thimble {

struct LoadedElf {
  Gpa entry = 0;  // physical address of the entry point
  Gpa end = 0;    // first byte after the highest segment
};

// Copies the PT_LOAD segments of the file to their physical addresses. `name` is for messages.
// Refuses what is not an x86-64 executable and segments that are not wholly in guest memory at or
// above `lowest`.
Result<LoadedElf> load_elf(int fd, const char* name, const GuestMemory& memory, Gpa lowest);

}  // namespace thimble

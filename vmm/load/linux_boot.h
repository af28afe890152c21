// Everything that Linux expects in memory when it is entered at its 64-bit entry point: the zero
// page with the memory map, the command line, the initrd (Documentation/x86/boot.rst, "64-bit boot
// protocol"; Documentation/x86/zero-page.rst).
#pragma once

#include <cstdint>
#include <string>

#include "devices/guest_memory.h"
#include "devices/result.h"

namespace thimble {

struct BootFiles {
  std::string kernel;  // path of an uncompressed ELF vmlinux
  std::string initrd;  // path, or empty
  // The files already open, not owned; then the paths are only for messages.
  int kernel_file = -1;
  int initrd_file = -1;
};

// Loads kernel and initrd, writes zero page and command line. Returns the address to enter at.
Result<Gpa> load_linux(const GuestMemory& memory, const BootFiles& files,
                       const std::string& command_line);

}  // namespace thimble

// Everything that a loaded kernel expects in memory beside itself: memory map, command line,
// initrd, where the ACPI tables are. Linux' 64-bit entry reads it from the zero page
// (Documentation/x86/boot.rst, "64-bit boot protocol"; Documentation/x86/zero-page.rst), the PVH
// entry from its start info (pvh.h).
#pragma once

#include <cstdint>
#include <string>

#include "devices/guest_memory.h"
#include "devices/result.h"
#include "vmm/load/kernel.h"

namespace thimble {

struct BootInfo {
  ForeignFile initrd;  // or none
  std::string command_line;
  Gpa rsdp = 0;  // of the ACPI tables; 0: there are none
};

// Loads the initrd, and writes what the kernel's way of entry asks for.
Result<void> write_boot_info(const GuestMemory& memory, const LoadedKernel& kernel,
                             const BootInfo& info);

}  // namespace thimble

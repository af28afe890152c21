// What a kernel entered by PVH finds in memory (Xen, public/arch-x86/hvm/start_info.h): a start
// info structure with the command line, the initrd as a module, the memory map and the ACPI root.
#pragma once

#include <asm/bootparam.h>

#include <cstdint>
#include <span>

#include "devices/guest_memory.h"
#include "devices/result.h"

namespace thimble {

struct Initrd {
  Gpa start = 0;
  uint64_t size = 0;  // 0: there is none
};

// Writes the structure at map::kPvhStartInfo. `rsdp` may be 0: no ACPI tables.
Result<void> write_pvh_start_info(const GuestMemory& memory, Initrd initrd,
                                  std::span<const boot_e820_entry> memory_map, Gpa rsdp);

}  // namespace thimble

// Loading a kernel, whatever kind of file it is, and deciding how it is entered.
//
//   bzImage                           Linux' 64-bit entry
//   ELF with Linux notes or without   Linux' 64-bit entry (e_entry)
//     a PVH note
//   any other ELF with a PVH note     PVH
#pragma once

#include <asm/bootparam.h>

#include <optional>

#include "devices/guest_memory.h"
#include "devices/result.h"
#include "thimble/machine.h"
#include "vmm/load/read_file.h"

namespace thimble {

struct LoadedKernel {
  KernelEntry way = KernelEntry::kLinux64;  // never kAuto
  Gpa entry = 0;
  Gpa end = 0;  // first byte after what the kernel needs for itself
  // Finds CPUs and devices by ACPI tables, as far as the file tells.
  bool wants_acpi = false;
  std::optional<setup_header> header;  // a bzImage's own
};

Result<LoadedKernel> load_kernel(const GuestMemory& memory, const ForeignFile& file,
                                 KernelEntry wish);

}  // namespace thimble

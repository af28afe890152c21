// The state in which the first CPU enters a kernel, interrupts off, segments flat:
//
//   Linux 64-bit  long mode, memory up to 4 GiB mapped one to one, RSI on the zero page
//                 (Documentation/x86/boot.rst, "64-bit boot protocol")
//   PVH           32-bit protected mode without paging, EBX on the start info
//                 (Xen, docs/misc/pvh.pandoc)
#pragma once

#include "devices/guest_memory.h"
#include "devices/result.h"
#include "vmm/cpu/cpuid.h"

namespace thimble {

// Writes the page tables and segment descriptors that the registers of a 64-bit entry refer to.
Result<void> write_start_tables(const GuestMemory& memory);

// Sets the registers of the vCPU `fd` for a 64-bit entry at `entry`.
Result<void> set_start_registers(int fd, Gpa entry);

// The same for a PVH entry.
Result<void> set_pvh_registers(int fd, Gpa entry);

// Lets XCR0 start with every feature that `cpuid` offers instead of the reset value 1; kernels
// write it anyway. The lab needs it: QEMU's AMD-V does not report XSETBV to KVM, which would go on
// answering CPUID leaf 0xd for an XCR0 of 1, and Linux would warn at length about its FPU.
Result<void> set_start_xcr0(int fd, CpuidTable& cpuid);

// MSRs that firmware would have set, the same on every CPU.
Result<void> set_start_msrs(int fd);

}  // namespace thimble

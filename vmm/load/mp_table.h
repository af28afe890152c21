// The MultiProcessor table (Intel MultiProcessor Specification 1.4, chapter 4): tells a kernel
// without ACPI about the CPUs, the IOAPIC and which pin each interrupt uses.
#pragma once

#include "devices/guest_memory.h"
#include "devices/result.h"

namespace thimble {

// Writes the floating pointer and the table at map::kMpTable. `vcpus` is 1 to 8; local APIC ids are
// 0 to vcpus - 1, the IOAPIC's is the next.
Result<void> write_mp_table(const GuestMemory& memory, unsigned vcpus);

}  // namespace thimble

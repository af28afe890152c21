// What lies at the reset vector of a machine without firmware. Linux with hardware-reduced ACPI and
// without EFI reboots, unless told otherwise (reboot=k), by a jump in real mode to where a BIOS
// would start, 0xf000:0xfff0. There it finds code that asks the machine for a reset.
#pragma once

#include "devices/guest_memory.h"
#include "devices/result.h"

namespace thimble {

Result<void> write_reset_vector(const GuestMemory& memory);

}  // namespace thimble

// The ACPI tables of a machine, in the hardware-reduced form (ACPI 6.4, 4.1): no fixed hardware, no
// PM timer, no system control interrupt. A kernel with ACPI finds everything by them:
//
//   RSDP -> XSDT -> FADT   how to switch off (sleep control register) and reset
//                |    `--> DSDT  devices: virtio-mmio slots, serial port, VM generation ID and
//                |               the event device that tells of a new one
//                `> MADT   local APICs and the IOAPIC; there are no PICs
//
// Interrupts are edge-triggered and active high, as in the MP table.
#pragma once

#include <cstddef>

#include "devices/guest_memory.h"
#include "devices/result.h"

namespace thimble {

struct AcpiMachine {
  unsigned vcpus = 1;       // local APIC ids are 0 to vcpus - 1
  size_t virtio_slots = 0;  // how many are taken, from the first on
};

// Writes the tables at map::kAcpiTables. Returns the address of the RSDP.
Result<Gpa> write_acpi_tables(const GuestMemory& memory, const AcpiMachine& machine);

}  // namespace thimble

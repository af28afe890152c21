// See mp_table.h. Every interrupt is an ISA interrupt n on pin n, edge-triggered, active high: the
// devices pulse their lines, so no interrupt ever needs to be acknowledged to the VMM.
#include "vmm/load/mp_table.h"

#include <cstdint>
#include <cstring>
#include <numeric>
#include <span>
#include <vector>

#include "devices/ioapic.h"
#include "vmm/memory_map.h"

namespace thimble {

namespace {

struct [[gnu::packed]] FloatingPointer {
  char signature[4] = {'_', 'M', 'P', '_'};
  uint32_t table = 0;
  uint8_t length = 1;  // of this structure, in 16 bytes
  uint8_t revision = 4;
  uint8_t checksum = 0;
  uint8_t features[5] = {};
};

struct [[gnu::packed]] TableHeader {
  char signature[4] = {'P', 'C', 'M', 'P'};
  uint16_t length = 0;
  uint8_t revision = 4;
  uint8_t checksum = 0;
  char oem[8] = {'T', 'H', 'I', 'M', 'B', 'L', 'E', ' '};
  char product[12] = {'M', 'I', 'C', 'R', 'O', 'V', 'M', ' ', ' ', ' ', ' ', ' '};
  uint32_t oem_table = 0;
  uint16_t oem_table_size = 0;
  uint16_t entries = 0;
  uint32_t local_apic = 0xfee00000;
  uint16_t extended_length = 0;
  uint8_t extended_checksum = 0;
  uint8_t reserved = 0;
};

enum EntryType : uint8_t { kProcessor = 0, kBus = 1, kIoApicEntry = 2, kInterrupt = 3, kLocal = 4 };

struct [[gnu::packed]] Processor {
  uint8_t type = kProcessor;
  uint8_t apic_id = 0;
  uint8_t apic_version = 0x14;
  uint8_t flags = 0;  // bit 0 enabled, bit 1 bootstrap processor
  uint32_t signature = 0x600;
  uint32_t features = 0x201;  // FPU and APIC
  uint32_t reserved[2] = {};
};

struct [[gnu::packed]] BusEntry {
  uint8_t type = kBus;
  uint8_t id = 0;
  char name[6] = {'I', 'S', 'A', ' ', ' ', ' '};
};

struct [[gnu::packed]] IoApicEntry {
  uint8_t type = kIoApicEntry;
  uint8_t id = 0;
  uint8_t version = 0x11;
  uint8_t flags = 1;  // usable
  uint32_t address = IoApic::kBase;
};

struct [[gnu::packed]] InterruptEntry {
  uint8_t type = kInterrupt;
  uint8_t kind = 0;      // 0 vectored, 1 NMI, 3 external
  uint16_t flags = 0x5;  // active high, edge-triggered
  uint8_t bus = 0;
  uint8_t bus_irq = 0;
  uint8_t to_apic = 0;
  uint8_t to_pin = 0;
};

template <class Entry>
void append(std::vector<uint8_t>& table, const Entry& entry) {
  const auto* raw = reinterpret_cast<const uint8_t*>(&entry);
  table.insert(table.end(), raw, raw + sizeof(entry));
}

// The byte that makes the sum of all bytes zero.
uint8_t checksum(std::span<const uint8_t> bytes) {
  return static_cast<uint8_t>(-std::accumulate(bytes.begin(), bytes.end(), 0U));
}

std::vector<uint8_t> build_table(unsigned vcpus) {
  std::vector<uint8_t> table;
  TableHeader header;
  append(table, header);
  for (unsigned cpu = 0; cpu < vcpus; ++cpu) {
    const uint8_t flags = cpu == 0 ? 3 : 1;
    append(table, Processor{.apic_id = static_cast<uint8_t>(cpu), .flags = flags});
  }
  const auto ioapic = static_cast<uint8_t>(vcpus);
  append(table, BusEntry{});
  append(table, IoApicEntry{.id = ioapic});
  for (uint8_t pin = 0; pin < kIoApicPins; ++pin) {
    append(table, InterruptEntry{.bus_irq = pin, .to_apic = ioapic, .to_pin = pin});
  }
  // NMI on LINT1 of every CPU, as on hardware.
  append(table, InterruptEntry{.type = kLocal, .kind = 1, .to_apic = 0xff, .to_pin = 1});

  header.length = static_cast<uint16_t>(table.size());
  header.entries = static_cast<uint16_t>(vcpus + 2 + kIoApicPins + 1);
  std::memcpy(table.data(), &header, sizeof(header));
  header.checksum = checksum(table);
  std::memcpy(table.data(), &header, sizeof(header));
  return table;
}

}  // namespace

Result<void> write_mp_table(const GuestMemory& memory, unsigned vcpus) {
  FloatingPointer pointer;
  pointer.table = static_cast<uint32_t>(map::kMpTable + sizeof(pointer));
  pointer.checksum =
      checksum(std::span(reinterpret_cast<const uint8_t*>(&pointer), sizeof(pointer)));
  std::vector<uint8_t> bytes;
  append(bytes, pointer);
  const std::vector<uint8_t> table = build_table(vcpus);
  bytes.insert(bytes.end(), table.begin(), table.end());

  uint8_t* to = memory.at(map::kMpTable, map::kBaseMemoryEnd - map::kMpTable);
  if (to == nullptr || bytes.size() > map::kBaseMemoryEnd - map::kMpTable) {
    return fail("MP table: does not fit below 640 KiB");
  }
  std::memcpy(to, bytes.data(), bytes.size());
  return {};
}

}  // namespace thimble

// See tables.h. The numbers of sections are those of ACPI 6.4.
#include "vmm/acpi/tables.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "devices/ioapic.h"
#include "devices/power.h"
#include "devices/serial.h"
#include "devices/text.h"
#include "vmm/acpi/aml.h"
#include "vmm/memory_map.h"

namespace thimble {

namespace {

using aml::Bytes;

// 5.2.6: in front of every table but the RSDP.
struct [[gnu::packed]] TableHeader {
  char signature[4] = {};
  uint32_t length = 0;
  uint8_t revision = 0;
  uint8_t checksum = 0;
  char oem[6] = {'T', 'H', 'I', 'M', 'B', 'L'};
  char oem_table[8] = {'M', 'I', 'C', 'R', 'O', 'V', 'M', ' '};
  uint32_t oem_revision = 1;
  char creator[4] = {'T', 'H', 'M', 'B'};
  uint32_t creator_revision = 1;
};
static_assert(sizeof(TableHeader) == 36);

// 5.2.5.3
struct [[gnu::packed]] RootPointer {
  char signature[8] = {'R', 'S', 'D', ' ', 'P', 'T', 'R', ' '};
  uint8_t checksum = 0;  // of the first 20 bytes
  char oem[6] = {'T', 'H', 'I', 'M', 'B', 'L'};
  uint8_t revision = 2;
  uint32_t rsdt = 0;
  uint32_t length = 36;
  uint64_t xsdt = 0;
  uint8_t extended_checksum = 0;  // of all bytes
  uint8_t reserved[3] = {};
};
static_assert(sizeof(RootPointer) == 36);

// 5.2.3.2
struct [[gnu::packed]] GenericAddress {
  uint8_t space = 1;  // ports
  uint8_t bits = 8;
  uint8_t offset = 0;
  uint8_t access = 1;  // bytes
  uint64_t address = 0;
};

constexpr uint16_t kNoVga = 1U << 2;
constexpr uint16_t kNoCmosClock = 1U << 5;
constexpr uint32_t kNoPowerButton = 1U << 4;
constexpr uint32_t kNoSleepButton = 1U << 5;
constexpr uint32_t kHasResetRegister = 1U << 10;
constexpr uint32_t kHardwareReduced = 1U << 20;
constexpr uint8_t kResetValue = 0x06;

// 5.2.9, without the header. What belongs to fixed hardware is zero.
struct [[gnu::packed]] FixedDescription {
  uint32_t facs = 0;
  uint32_t dsdt = 0;
  uint8_t fixed_hardware[65] = {};  // offsets 44 to 108 of the table
  uint16_t boot_flags = kNoVga | kNoCmosClock;
  uint8_t reserved = 0;
  uint32_t flags = kNoPowerButton | kNoSleepButton | kHasResetRegister | kHardwareReduced;
  GenericAddress reset{.address = PowerPort::kResetControlPort};
  uint8_t reset_value = kResetValue;
  uint16_t arm_flags = 0;
  uint8_t minor_version = 4;
  uint64_t x_facs = 0;
  uint64_t x_dsdt = 0;
  uint8_t x_fixed_hardware[96] = {};  // eight register blocks
  GenericAddress sleep_control{.address = PowerPort::kSleepControlPort};
  GenericAddress sleep_status{.address = PowerPort::kSleepStatusPort};
  uint64_t hypervisor = 0;
};
static_assert(sizeof(TableHeader) + sizeof(FixedDescription) == 276);
static_assert(sizeof(TableHeader) + offsetof(FixedDescription, flags) == 112);
static_assert(sizeof(TableHeader) + offsetof(FixedDescription, x_dsdt) == 140);
static_assert(sizeof(TableHeader) + offsetof(FixedDescription, sleep_control) == 244);

// 5.2.12
struct [[gnu::packed]] MadtStart {
  uint32_t local_apic = 0xfee00000;
  uint32_t flags = 0;  // no PICs
};

struct [[gnu::packed]] MadtLocalApic {
  uint8_t type = 0;
  uint8_t length = 8;
  uint8_t processor = 0;
  uint8_t apic_id = 0;
  uint32_t flags = 1;  // enabled
};

struct [[gnu::packed]] MadtIoApic {
  uint8_t type = 1;
  uint8_t length = 12;
  uint8_t id = 0;
  uint8_t reserved = 0;
  uint32_t address = IoApic::kBase;
  uint32_t first_interrupt = 0;
};

struct [[gnu::packed]] MadtNmi {
  uint8_t type = 4;
  uint8_t length = 6;
  uint8_t processor = 0xff;  // all
  uint16_t flags = 0;
  uint8_t pin = 1;  // LINT1
};

template <class Struct>
  requires(std::is_trivially_copyable_v<Struct>)
void append(Bytes& bytes, const Struct& more) {
  const auto* raw = reinterpret_cast<const uint8_t*>(&more);
  bytes.insert(bytes.end(), raw, raw + sizeof(more));
}

// The byte that makes the sum of all bytes zero.
uint8_t checksum(std::span<const uint8_t> bytes) {
  return static_cast<uint8_t>(-std::accumulate(bytes.begin(), bytes.end(), 0U));
}

Bytes table(std::string_view signature, uint8_t revision, const Bytes& body) {
  TableHeader header;
  std::memcpy(header.signature, signature.data(), sizeof(header.signature));
  header.length = static_cast<uint32_t>(sizeof(header) + body.size());
  header.revision = revision;
  Bytes out;
  append(out, header);
  aml::append(out, body);
  out[offsetof(TableHeader, checksum)] = checksum(out);
  return out;
}

// Tables one after another from an address on.
class TableArea {
 public:
  TableArea(const GuestMemory& memory, Gpa start, Gpa end)
      : memory_(memory), next_(start), end_(end) {}

  // Writes and returns the address; 0 when there is no room.
  Gpa put(const Bytes& bytes) {
    const Gpa at = (next_ + 15) & ~Gpa{15};
    uint8_t* to = memory_.at(at, bytes.size());
    if (to == nullptr || at + bytes.size() > end_) return 0;
    std::memcpy(to, bytes.data(), bytes.size());
    next_ = at + bytes.size();
    return at;
  }

 private:
  const GuestMemory& memory_;
  Gpa next_;
  Gpa end_;
};

Bytes virtio_devices(size_t slots) {
  Bytes out;
  for (size_t i = 0; i < slots; ++i) {
    const auto registers = aml::memory32(map::virtio_base(i), map::kVirtioPage);
    const auto interrupt = aml::edge_interrupt(map::virtio_pin(i));
    aml::append(out, aml::device(text("VR%02zX", i),
                                 aml::sequence({
                                     aml::define("_HID", aml::string("LNRO0005")),
                                     aml::define("_UID", aml::integer(i)),
                                     aml::define("_CRS", aml::resources({registers, interrupt})),
                                 })));
  }
  return out;
}

Bytes serial_port() {
  return aml::device("COM1",
                     aml::sequence({
                         aml::define("_HID", aml::eisa_id("PNP0501")),
                         aml::define("_UID", aml::integer(0)),
                         aml::define("_CRS", aml::resources({
                                                 aml::port_range(Serial::kPort, Serial::kSize),
                                                 aml::edge_interrupt(map::kSerialPin),
                                             })),
                     }));
}

// The VM generation ID (Microsoft, "Virtual Machine Generation ID"): ADDR says where it lies. The
// event device's interrupt says that it has changed.
Bytes generation_id() {
  return aml::sequence({
      aml::device("VGEN",
                  aml::sequence({
                      aml::define("_HID", aml::string("THMB0001")),
                      aml::define("_CID", aml::string("VM_Gen_Counter")),
                      aml::define("_DDN", aml::string("VM_Gen_Counter")),
                      aml::define("ADDR", aml::package({aml::integer(map::kVmGenId & 0xffffffff),
                                                        aml::integer(map::kVmGenId >> 32)})),
                  })),
      aml::device("GED_",
                  aml::sequence({
                      aml::define("_HID", aml::string("ACPI0013")),
                      aml::define("_UID", aml::integer(0)),
                      aml::define("_CRS", aml::resources({aml::edge_interrupt(map::kEventPin)})),
                      aml::method("_EVT", 1, aml::notify("\\_SB_.VGEN", 0x80)),
                  })),
  });
}

Bytes dsdt(const AcpiMachine& machine) {
  const Bytes soft_off = aml::package(
      {aml::integer(PowerPort::kSoftOff), aml::integer(0), aml::integer(0), aml::integer(0)});
  return table("DSDT", 2,
               aml::sequence({
                   aml::define("\\_S5_", soft_off),
                   aml::scope("\\_SB_", aml::sequence({serial_port(), generation_id(),
                                                       virtio_devices(machine.virtio_slots)})),
               }));
}

Bytes fadt(Gpa dsdt_address) {
  FixedDescription description;
  description.dsdt = static_cast<uint32_t>(dsdt_address);
  description.x_dsdt = dsdt_address;
  Bytes body;
  append(body, description);
  return table("FACP", 6, body);
}

Bytes madt(unsigned vcpus) {
  Bytes body;
  append(body, MadtStart{});
  for (unsigned cpu = 0; cpu < vcpus; ++cpu) {
    const auto id = static_cast<uint8_t>(cpu);
    append(body, MadtLocalApic{.processor = id, .apic_id = id});
  }
  append(body, MadtIoApic{.id = static_cast<uint8_t>(vcpus)});
  append(body, MadtNmi{});
  return table("APIC", 5, body);
}

Bytes root_pointer(Gpa xsdt) {
  RootPointer pointer;
  pointer.xsdt = xsdt;
  const auto raw = std::span(reinterpret_cast<const uint8_t*>(&pointer), sizeof(pointer));
  pointer.checksum = checksum(raw.first(offsetof(RootPointer, length)));
  pointer.extended_checksum = checksum(raw);
  Bytes out;
  append(out, pointer);
  return out;
}

}  // namespace

Result<Gpa> write_acpi_tables(const GuestMemory& memory, const AcpiMachine& machine) {
  // The root pointer stands first, where a kernel that is not told looks for it as well.
  TableArea area(memory, map::kAcpiTables + sizeof(RootPointer), map::kVmGenId);
  const Gpa dsdt_at = area.put(dsdt(machine));
  const Gpa fadt_at = area.put(fadt(dsdt_at));
  const Gpa madt_at = area.put(madt(machine.vcpus));
  Bytes entries;
  append(entries, fadt_at);
  append(entries, madt_at);
  const Gpa xsdt_at = area.put(table("XSDT", 1, entries));
  TableArea first(memory, map::kAcpiTables, map::kVmGenId);
  const Gpa root = first.put(root_pointer(xsdt_at));
  if (dsdt_at == 0 || fadt_at == 0 || madt_at == 0 || xsdt_at == 0 || root == 0) {
    return fail("ACPI tables: they do not fit below 1 MiB");
  }
  return root;
}

}  // namespace thimble

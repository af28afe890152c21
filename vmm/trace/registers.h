// The names of the registers of each device, as its specification spells them.
#pragma once

#include <cstdint>
#include <string_view>

namespace thimble {

std::string_view serial_register(uint64_t offset, bool write);
std::string_view ioapic_register(uint64_t offset, bool write);
std::string_view virtio_mmio_register(uint64_t offset, bool write);
std::string_view sleep_register(uint64_t offset, bool write);

}  // namespace thimble

// Look-up of the device that owns an address; see bus.h.
#include "devices/bus.h"

#include <algorithm>

#include "devices/text.h"

namespace thimble {

Result<void> Bus::attach(uint64_t base, uint64_t size, BusDevice& device) {
  uint64_t end = 0;
  if (size == 0 || __builtin_add_overflow(base, size, &end)) {
    return fail(text("attach device at %#lx: range of %lu bytes is not valid", base, size));
  }
  const auto next = std::ranges::upper_bound(entries_, base, {}, &Entry::base);
  const bool hits_next = next != entries_.end() && next->base < end;
  const bool hits_previous =
      next != entries_.begin() && std::prev(next)->base + std::prev(next)->size > base;
  if (hits_next || hits_previous) {
    return fail(text("attach device at %#lx: another device is there", base));
  }
  entries_.insert(next, Entry{base, size, &device});
  return {};
}

const Bus::Entry* Bus::find(uint64_t address, uint64_t size) const {
  const auto next = std::ranges::upper_bound(entries_, address, {}, &Entry::base);
  if (next == entries_.begin()) return nullptr;
  const Entry& entry = *std::prev(next);
  const uint64_t offset = address - entry.base;
  const bool inside = offset < entry.size && size <= entry.size - offset;
  return inside ? &entry : nullptr;
}

bool Bus::read(uint64_t address, std::span<uint8_t> data) const {
  const Entry* entry = find(address, data.size());
  if (entry == nullptr) {
    std::ranges::fill(data, uint8_t{0xff});
    return false;
  }
  std::ranges::fill(data, uint8_t{0});
  entry->device->read(address - entry->base, data);
  return true;
}

bool Bus::write(uint64_t address, std::span<const uint8_t> data) const {
  const Entry* entry = find(address, data.size());
  if (entry == nullptr) return false;
  entry->device->write(address - entry->base, data);
  return true;
}

}  // namespace thimble

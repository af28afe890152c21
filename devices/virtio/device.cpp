// Defaults that most virtio devices share; see device.h.
#include "devices/virtio/device.h"

#include <algorithm>

namespace thimble {

void copy_config(std::span<const uint8_t> config, uint32_t offset, std::span<uint8_t> data) {
  if (offset >= config.size()) return;
  const auto rest = config.subspan(offset);
  std::ranges::copy(rest.first(std::min(rest.size(), data.size())), data.begin());
}

// Most devices have nothing that a driver may write.
void VirtioDevice::write_config(uint32_t /*offset*/, std::span<const uint8_t> /*data*/) {}

void VirtioDevice::drain() {}

Result<void> VirtioDevice::restore_state(std::span<const uint8_t> saved) {
  if (!saved.empty()) return fail("a device without state: saved with some");
  return {};
}

}  // namespace thimble

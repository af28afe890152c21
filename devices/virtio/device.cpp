// Defaults that most virtio devices share; see device.h.
#include "devices/virtio/device.h"

namespace thimble {

// Most devices have nothing that a driver may write.
void VirtioDevice::write_config(uint32_t /*offset*/, std::span<const uint8_t> /*data*/) {}

void VirtioDevice::drain() {}

}  // namespace thimble

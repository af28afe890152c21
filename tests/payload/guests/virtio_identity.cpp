// The first virtio slot holds a modern virtio-mmio device: magic, version 2, a device id,
// VERSION_1.
#include "payload.h"

void _start() {
  payload::check(payload::read32(payload::kVirtio) == 0x74726976, "magic");
  payload::check(payload::read32(payload::kVirtio + 4) == 2, "version");
  payload::check(payload::read32(payload::kVirtio + 8) == 4, "entropy device");
  payload::write32(payload::kVirtio + 0x14, 1);
  payload::check((payload::read32(payload::kVirtio + 0x10) & 1) != 0, "VERSION_1 is offered");
  payload::print("ok\n");
  payload::power_off();
}

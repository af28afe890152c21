// Random values at random registers of a disk, a vsock device and an entropy device, in random
// widths: each comes back with a reset.
#include "virtio.h"

using namespace payload;

namespace {

uint64_t seed = 0x9e3779b97f4a7c15;
uint32_t random() {
  seed = seed * 6364136223846793005 + 1442695040888963407;
  return static_cast<uint32_t>(seed >> 33);
}

void poke(uint64_t address) {
  switch (random() % 6) {
    case 0:
      return store<uint8_t>(address, static_cast<uint8_t>(random()));
    case 1:
      return store<uint16_t>(address & ~1ULL, static_cast<uint16_t>(random()));
    case 2:
      return store<uint64_t>(address & ~7ULL, random());
    case 3:
      (void)load<uint32_t>(address & ~3ULL);
      return;
    default:
      return write32(address & ~3ULL, random() % 4 == 0 ? random() : random() % 16);
  }
}

}  // namespace

void _start() {
  for (int i = 0; i < 900; ++i) {
    const uint32_t offset = random() % 8 == 0 ? random() % 0x1000 : random() % 0x110;
    poke(kVirtio + random() % 3 * 0x1000 + offset);
  }
  for (uint32_t slot = 0; slot < 3; ++slot) {
    Device(slot).agree();
    Device(slot).set(0x70, 0);
  }
  expect_entropy(Device(2), "after random registers");
  finish();
}

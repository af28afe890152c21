// Resets in the middle of disk requests: the device is back at once, nothing of an earlier life is
// written later, and an honest read gets its bytes. Slot 0 is a disk whose every byte is 0xd1.
#include "virtio.h"

using namespace payload;

namespace {

constexpr uint64_t kData = kFree + 0x800000;
constexpr uint64_t kHeader = kFree + 0x700000;
constexpr uint64_t kStatus = kFree + 0x780000;

// Descriptors 3n to 3n + 2: `bytes` from sector 0 on.
void add_read(Ring& ring, uint16_t n, uint64_t to, uint32_t bytes) {
  const auto first = static_cast<uint16_t>(3 * n);
  store<uint64_t>(kHeader, 0);  // a read
  store<uint64_t>(kHeader + 8, 0);
  store<uint8_t>(kStatus + n, 0x77);
  ring.set(first, {kHeader, 16, kNext, static_cast<uint16_t>(first + 1)});
  ring.set(static_cast<uint16_t>(first + 1),
           {to, bytes, kNext | kWrite, static_cast<uint16_t>(first + 2)});
  ring.set(static_cast<uint16_t>(first + 2), {kStatus + n, 1, kWrite, 0});
  ring.make_available(first);
}

}  // namespace

void _start() {
  const Device disk(0);
  for (int round = 0; round < 20; ++round) {
    Ring ring = disk.start();
    for (uint16_t n = 0; n < 40; ++n) add_read(ring, n, kData, 0x10000);
    disk.notify(0);
    disk.set(0x70, 0);
    check(disk.status() == 0, "reset");
    // The memory is ours again.
    store<uint64_t>(kData, 0x5a5a5a5a5a5a5a5a);
    store<uint64_t>(ring.used, 0);
    for (int i = 0; i < 20; ++i) in8(kSerial + 5);
    check(load<uint64_t>(kData) == 0x5a5a5a5a5a5a5a5a, "no byte after a reset");
    check(load<uint64_t>(ring.used) == 0, "no used entry after a reset");
  }
  Ring ring = disk.start();
  add_read(ring, 0, kData, 512);
  disk.notify(0);
  check(wait_until([&] { return ring.has_used(); }), "an honest read is answered");
  check(load<uint8_t>(kStatus) == 0, "an honest read succeeds");
  check(load<uint64_t>(kData) == 0xd1d1d1d1d1d1d1d1, "an honest read gets the disk's bytes");
  finish();
}

// Disk requests with impossible numbers: errors for what is beyond the disk, "unsupported" for
// types that do not exist, a device that needs a reset where there is no room for an answer. Slot 0
// is a writable disk of 128 sectors.
#include "virtio.h"

using namespace payload;

namespace {

constexpr uint64_t kData = kFree + 0x800000;
constexpr uint64_t kHeader = kFree + 0x700000;
constexpr uint64_t kStatus = kFree + 0x780000;
constexpr uint8_t kIoError = 1;
constexpr uint8_t kUnsupported = 2;

uint8_t request(Ring& ring, const Device& disk, uint32_t type, uint64_t sector, uint32_t bytes) {
  store<uint64_t>(kHeader, type);
  store<uint64_t>(kHeader + 8, sector);
  store<uint8_t>(kStatus, 0x77);
  const auto data = static_cast<uint16_t>(type == 1 ? kNext : kNext | kWrite);
  ring.set(0, {kHeader, 16, kNext, 1});
  ring.set(1, {kData, bytes, data, 2});
  ring.set(2, {kStatus, 1, kWrite, 0});
  ring.make_available(0);
  disk.notify(0);
  if (!wait_until([&] { return ring.has_used(); })) return 0x77;
  ring.take_used();
  return load<uint8_t>(kStatus);
}

}  // namespace

void _start() {
  const Device disk(0);
  Ring ring = disk.start();
  for (uint32_t type = 0; type < 2; ++type) {
    check(request(ring, disk, type, 127, 512) == 0, "the last sector");
    check(request(ring, disk, type, 127, 1024) == kIoError, "across the end");
    check(request(ring, disk, type, 128, 512) == kIoError, "behind the end");
    check(request(ring, disk, type, 0xffffffffffffffff, 1024) == kIoError, "a sector that wraps");
    check(request(ring, disk, type, 0x80000000000000, 512) == kIoError, "an offset that wraps");
    check(request(ring, disk, type, 0, 511) == kIoError, "half a sector");
  }
  check(request(ring, disk, 0xffffffff, 0, 512) == kUnsupported, "a type that does not exist");

  ring.set(0, {kHeader, 16, 0, 0});  // no room for a status
  ring.make_available(0);
  disk.notify(0);
  expect_needs_reset(disk, "a request without a status byte");
  ring = disk.start();
  check(request(ring, disk, 0, 0, 512) == 0, "after the reset");
  finish();
}

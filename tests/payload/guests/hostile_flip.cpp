// Descriptors, rings and indices that change while the device reads them: the device may fill
// buffers or need a reset, and works again after one.
#include "virtio.h"

using namespace payload;

void _start() {
  const Device rng(0);
  const uint64_t good = kFree + 0x800000;
  Ring ring = rng.start();
  for (uint32_t round = 0; round < 400; ++round) {
    for (uint16_t i = 0; i < ring.size; ++i) ring.set(i, {good, 64, kWrite, 0});
    for (uint16_t i = 0; i < ring.size; ++i) ring.make_available(i);
    rng.notify(0);
    // The event loop's thread walks the chains now.
    for (uint16_t i = 0; i < ring.size; ++i) {
      ring.set(i, {0xfffffffffffffff0 + round, 0xffffffff, kNext | kIndirect, i});
      ring.set(i, {good, 64, static_cast<uint16_t>(kNext | kWrite), i});
      ring.set(i, {good, 0x7fffffff, kWrite, 0});
    }
    store<uint16_t>(ring.available + 2, static_cast<uint16_t>(ring.next + 7 * round));
    store<uint16_t>(ring.available + 2, ring.next);
    if (round % 16 == 15 && rng.needs_reset()) ring = rng.start();
  }
  expect_entropy(rng, "after the reset");
  finish();
}

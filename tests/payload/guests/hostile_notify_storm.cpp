// Notifications without end, of queues that run, that do not run and that do not exist, on every
// device page: the machine goes on.
#include "virtio.h"

using namespace payload;

void _start() {
  const Device rng(2);
  for (uint32_t i = 0; i < 1500; ++i) rng.notify(0);  // not running
  Ring ring = rng.start();
  for (uint16_t i = 0; i < ring.size; ++i) {
    ring.set(i, {kFree + 0x800000, 16, kWrite, 0});
    ring.make_available(i);
  }
  for (uint32_t i = 0; i < 1500; ++i) rng.notify(0);
  for (uint32_t slot = 0; slot < 3; ++slot) {
    for (uint32_t i = 0; i < 600; ++i) Device(slot).notify(i % 3);
    for (uint32_t i = 0; i < 50; ++i) Device(slot).notify(0x1000 + i);
  }
  check(wait_until([&] { return load<uint16_t>(ring.used + 2) == ring.size; }), "all is served");
  expect_entropy(rng, "after the storm");
  finish();
}

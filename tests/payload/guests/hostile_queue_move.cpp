// A queue that is switched off, moved and switched on while it runs; and one that is set up without
// the device's consent: the device needs a reset, and never writes at the new place.
#include "virtio.h"

using namespace payload;

void _start() {
  const Device rng(0);
  Ring ring = rng.start();
  for (uint16_t i = 0; i < ring.size; ++i) {
    ring.set(i, {kFree + 0x800000, 64, kWrite, 0});
    ring.make_available(i);
  }
  rng.notify(0);
  Ring moved = ring;
  moved.used = kFree + 0xa00000;
  rng.set(0x30, 0);
  rng.place(moved);  // while it runs: ignored
  rng.set(0x44, 0);
  rng.place(moved);
  rng.set(0x44, 1);
  check(rng.needs_reset(), "a queue that comes back without a reset");
  check(load<uint32_t>(moved.used) == 0, "nothing is written at the new place");

  rng.set(0x70, 0);
  rng.set(0x30, 0);
  rng.place(ring);
  rng.set(0x44, 1);
  check(rng.get(0x44) == 0, "no queue before the features are agreed");
  expect_entropy(rng, "after the reset");
  finish();
}

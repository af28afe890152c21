// Ring indices that jump ahead, go back, or name descriptors that do not exist.
#include "virtio.h"

using namespace payload;

void _start() {
  const Device rng(0);
  Ring ring = rng.start();
  ring.set_index(static_cast<uint16_t>(ring.size + 1));
  rng.notify(0);
  expect_needs_reset(rng, "more chains than the ring has");

  ring = rng.start();
  ring.set_index(0xffff);
  rng.notify(0);
  expect_needs_reset(rng, "an index that goes back");

  ring = rng.start();
  ring.make_available(0xffff);
  rng.notify(0);
  expect_needs_reset(rng, "a head outside the table");

  ring = rng.start();
  ring.set(0, {kFree + 0x800000, 4, kNext | kWrite, 0x8000});
  ring.make_available(0);
  rng.notify(0);
  expect_needs_reset(rng, "a next outside the table");
  expect_entropy(rng, "after the reset");
  finish();
}

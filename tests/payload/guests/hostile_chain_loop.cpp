// A chain that leads back to itself, in the table and inside an indirect table, ends in a device
// that needs a reset, and after the reset it works.
#include "virtio.h"

using namespace payload;

void _start() {
  const Device rng(0);
  const uint64_t buffer = kFree + 0x800000;
  Ring ring = rng.start();
  ring.set(0, {buffer, 4, kNext | kWrite, 1});
  ring.set(1, {buffer, 4, kNext | kWrite, 0});
  ring.make_available(0);
  rng.notify(0);
  expect_needs_reset(rng, "a loop of two");

  ring = rng.start();
  const uint64_t table = kFree + 0x900000;
  store(table, buffer);
  store<uint32_t>(table + 8, 4);
  store<uint16_t>(table + 12, kNext | kWrite);
  store<uint16_t>(table + 14, 0);
  ring.set(0, {table, 16, kIndirect, 0});
  ring.make_available(0);
  rng.notify(0);
  expect_needs_reset(rng, "a loop inside an indirect table");
  expect_entropy(rng, "after the reset");
  finish();
}

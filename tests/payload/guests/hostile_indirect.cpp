// Indirect tables of wrong lengths, in wrong places, nested, and together with NEXT.
#include "virtio.h"

using namespace payload;

namespace {

constexpr uint64_t kTable = kFree + 0x900000;

void expect_refused(const Device& rng, const Descriptor& descriptor, const char* what) {
  Ring ring = rng.start();
  ring.set(0, descriptor);
  ring.make_available(0);
  rng.notify(0);
  expect_needs_reset(rng, what);
}

}  // namespace

void _start() {
  const Device rng(0);
  store<uint64_t>(kTable, kFree + 0x800000);
  store<uint32_t>(kTable + 8, 4);
  store<uint32_t>(kTable + 12, kWrite);
  expect_refused(rng, {kTable, 0, kIndirect, 0}, "an empty table");
  expect_refused(rng, {kTable, 15, kIndirect, 0}, "a table of no whole entry");
  expect_refused(rng, {kTable, 0xfffffff0, kIndirect, 0}, "a table longer than memory");
  expect_refused(rng, {kTable, 1025 * 16, kIndirect, 0}, "a table of too many entries");
  expect_refused(rng, {0xfffffffffffffff0, 32, kIndirect, 0}, "a table that wraps");
  expect_refused(rng, {kTable, 16, kIndirect | kNext, 1}, "a table in the middle of a chain");
  store<uint32_t>(kTable + 8, 16);
  store<uint32_t>(kTable + 12, kIndirect);
  store<uint64_t>(kTable, kTable);
  expect_refused(rng, {kTable, 16, kIndirect, 0}, "a table that holds itself");
  expect_entropy(rng, "after the reset");
  finish();
}

// In a guest with memory on both sides of the hole: a buffer that ends with the hole's edge is
// filled, one byte further is refused, and so on at the other edge and at the end.
#include "virtio.h"

using namespace payload;

namespace {

constexpr uint64_t kHole = 0xd0000000;
constexpr uint64_t kHoleEnd = 0x100000000;

uint32_t fill(const Device& rng, uint64_t address, uint32_t length) {
  Ring ring = rng.start();
  ring.set(0, {address, length, kWrite, 0});
  ring.make_available(0);
  rng.notify(0);
  wait_until([&] { return ring.has_used() || rng.needs_reset(); });
  return ring.has_used() ? ring.take_used() : 0;
}

}  // namespace

void _start() {
  const Device rng(0);
  const uint64_t end = kHoleEnd + 0x200000;  // the test gives 2 MiB above the hole
  check(fill(rng, kHole - 16, 16) == 16, "up to the hole");
  check(fill(rng, kHole - 16, 17) == 0 && rng.needs_reset(), "one byte into the hole");
  check(fill(rng, kHole - 16, 0x30000020) == 0 && rng.needs_reset(), "across the whole hole");
  check(fill(rng, kHole, 16) == 0 && rng.needs_reset(), "in the hole");
  check(fill(rng, kHoleEnd - 16, 32) == 0 && rng.needs_reset(), "out of the hole");
  check(fill(rng, kHoleEnd, 16) == 16, "from the end of the hole");
  check(fill(rng, end - 16, 16) == 16, "up to the end of memory");
  check(fill(rng, end - 16, 17) == 0 && rng.needs_reset(), "one byte beyond memory");
  expect_entropy(rng, "after the reset");
  finish();
}

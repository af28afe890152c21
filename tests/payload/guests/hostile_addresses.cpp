// Buffers outside memory, across its end, wrapping around the address space, and on the devices'
// own registers: each ends in a device that needs a reset.
#include "virtio.h"

using namespace payload;

namespace {

struct Buffer {
  uint64_t address;
  uint32_t length;
  const char* what;
};

void expect_refused(const Device& rng, const Buffer& buffer) {
  Ring ring = rng.start();
  ring.set(0, {buffer.address, buffer.length, kWrite, 0});
  ring.make_available(0);
  rng.notify(0);
  expect_needs_reset(rng, buffer.what);
}

}  // namespace

void _start() {
  const Device rng(0);
  constexpr uint64_t kEnd = 32ULL << 20;  // of this guest's memory
  const Buffer buffers[] = {
      {kEnd, 16, "behind memory"},
      {kEnd - 8, 16, "across the end of memory"},
      {0x1000, 0xffffffff, "longer than memory"},
      {0xfffffffffffffff8, 16, "around the address space"},
      {0xffffffffffffffff, 0xffffffff, "the last byte and on"},
      {kVirtio, 16, "a device's registers"},
      {kLocalApic, 16, "the local APIC"},
      {0x100000000, 16, "above the hole"},
  };
  for (const Buffer& buffer : buffers) expect_refused(rng, buffer);

  // The rings themselves.
  rng.agree();
  Ring ring = rng.open(0);
  rng.set(0x44, 0);
  ring.used = kEnd - 8;
  rng.place(ring);
  rng.set(0x44, 1);
  rng.go();
  check(rng.needs_reset(), "a used ring across the end of memory");
  expect_entropy(rng, "after the reset");
  finish();
}

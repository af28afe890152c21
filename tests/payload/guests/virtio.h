// A virtio-mmio driver for payload guests: as honest as each guest wants it to be.
#pragma once

#include "payload.h"

namespace payload {

struct Descriptor {
  uint64_t address;
  uint32_t length;
  uint16_t flags;
  uint16_t next;
};
constexpr uint16_t kNext = 1;
constexpr uint16_t kWrite = 2;
constexpr uint16_t kIndirect = 4;

constexpr uint32_t kAgreed = 1 | 2 | 8;  // ACKNOWLEDGE, DRIVER, FEATURES_OK
constexpr uint32_t kDriverOk = 4;
constexpr uint32_t kNeedsReset = 64;

// Free memory of the guest; nothing else is there.
constexpr uint64_t kFree = 0x1000000;

template <class T>
inline void store(uint64_t address, T value) {
  *reinterpret_cast<volatile T*>(address) = value;
}
template <class T>
inline T load(uint64_t address) {
  return *reinterpret_cast<volatile const T*>(address);
}

// One queue's rings at a fixed place: a page for each queue of each slot.
struct Ring {
  uint64_t descriptors = 0;
  uint64_t available = 0;
  uint64_t used = 0;
  uint16_t size = 0;
  uint16_t next = 0;  // our available index
  uint16_t seen = 0;  // our position in the used ring

  void set(uint16_t index, const Descriptor& descriptor) const {
    const uint64_t at = descriptors + index * 16UL;
    store(at, descriptor.address);
    store(at + 8, descriptor.length);
    store(at + 12, descriptor.flags);
    store(at + 14, descriptor.next);
  }
  void make_available(uint16_t head) {
    store<uint16_t>(available + 4 + next % size * 2UL, head);
    set_index(static_cast<uint16_t>(next + 1));
  }
  void set_index(uint16_t index) {
    next = index;
    asm volatile("" ::: "memory");  // stores stay in order on x86
    store<uint16_t>(available + 2, index);
  }
  [[nodiscard]] bool has_used() const { return load<uint16_t>(used + 2) != seen; }
  // The length of the oldest used entry, which is there.
  uint32_t take_used() { return load<uint32_t>(used + 4 + seen++ % size * 8UL + 4); }
};

class Device {
 public:
  explicit Device(uint32_t slot)
      : base_(kVirtio + slot * 0x1000UL), rings_at_(kFree + slot * 0x10000UL) {}

  [[nodiscard]] uint32_t get(uint32_t offset) const { return read32(base_ + offset); }
  void set(uint32_t offset, uint32_t value) const { write32(base_ + offset, value); }
  [[nodiscard]] uint32_t status() const { return get(0x70); }
  [[nodiscard]] bool needs_reset() const { return (status() & kNeedsReset) != 0; }
  void notify(uint32_t queue) const { set(0x50, queue); }

  // Resets the device and brings it up to FEATURES_OK with nothing but VERSION_1 (and `features`).
  void agree(uint32_t features = 0) const {
    set(0x70, 0);
    set(0x70, 1 | 2);
    set(0x24, 0);
    set(0x20, features);
    set(0x24, 1);
    set(0x20, 1);
    set(0x70, kAgreed);
    check((status() & 8) != 0, "the device agrees");
  }
  void go() const { set(0x70, kAgreed | kDriverOk); }

  // Fresh rings for a queue, switched on.
  Ring open(uint32_t queue) const {
    set(0x30, queue);
    Ring ring;
    ring.size = static_cast<uint16_t>(get(0x34));
    const uint64_t page = rings_at_ + queue * 0x4000UL;
    ring.descriptors = page;
    ring.available = page + 0x1000;
    ring.used = page + 0x2000;
    store<uint32_t>(ring.available, 0);
    store<uint32_t>(ring.used, 0);
    place(ring);
    set(0x44, 1);
    return ring;
  }
  // Tells the registers of the selected queue where a ring lies.
  void place(const Ring& ring) const {
    set(0x38, ring.size);
    set_address(0x80, ring.descriptors);
    set_address(0x90, ring.available);
    set_address(0xa0, ring.used);
  }
  // The whole way, for a device with one queue.
  Ring start() const {
    agree();
    const Ring ring = open(0);
    go();
    return ring;
  }

 private:
  void set_address(uint32_t offset, uint64_t address) const {
    set(offset, static_cast<uint32_t>(address));
    set(offset + 4, static_cast<uint32_t>(address >> 32));
  }
  uint64_t base_;
  uint64_t rings_at_;
};

// Waits for the device, which is served by another thread; false when it takes too long.
template <class Done>
inline bool wait_until(Done done) {
  for (int i = 0; i < 30000; ++i) {
    if (done()) return true;
    in8(kSerial + 5);  // lets the host's other threads run, also on one CPU
  }
  return false;
}

// The device must say that it needs a reset.
inline void expect_needs_reset(const Device& device, const char* what) {
  check(wait_until([&] { return device.needs_reset(); }), what);
}

// An honest request for entropy after a reset: the device works.
inline void expect_entropy(const Device& rng, const char* what) {
  Ring ring = rng.start();
  const uint64_t buffer = kFree + 0x800000;
  store<uint64_t>(buffer, 0);
  ring.set(0, {buffer, 8, kWrite, 0});
  ring.make_available(0);
  rng.notify(0);
  check(wait_until([&] { return ring.has_used(); }), what);
  check(ring.take_used() == 8 && load<uint64_t>(buffer) != 0, what);
}

[[noreturn]] inline void finish() {
  print("ok\n");
  power_off();
}

}  // namespace payload

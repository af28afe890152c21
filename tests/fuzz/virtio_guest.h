// A hostile guest in front of one virtio device: a little memory on both sides of a hole, the
// device's registers, and rings that are written honestly or not, as the input says. Each target
// adds the actions of its device.
#pragma once

#include <array>
#include <cstdlib>
#include <memory>
#include <vector>

#include "devices/virtio/mmio.h"
#include "tests/fuzz/input.h"

namespace thimble::fuzz {

// Two allocations, so that the sanitizer sees a step over either end.
class Memory {
 public:
  static constexpr uint64_t kLow = 64 << 10;
  static constexpr Gpa kHighBase = 1ULL << 32;
  static constexpr uint64_t kHigh = 16 << 10;

  Memory()
      : low_(make(kLow)),
        high_(make(kHigh)),
        view({{0, kLow, low_.get()}, {kHighBase, kHigh, high_.get()}}) {}

  // Inside, on an edge, in the hole, at the end of the address space, or anything.
  static Gpa address(Input& input) {
    const uint8_t near = input.take<uint8_t>();
    switch (input.below(8)) {
      case 0:
        return kLow - near;
      case 1:
        return kHighBase - near;
      case 2:
        return kHighBase + kHigh - near;
      case 3:
        return 0ULL - near;
      case 4:
        return input.take<uint64_t>();
      case 5:
        return kHighBase + input.take<uint16_t>() % kHigh;
      default:
        return 0x8000 + (input.take<uint16_t>() % 0x8000);
    }
  }
  static uint32_t length(Input& input) {
    switch (input.below(8)) {
      case 0:
        return input.take<uint32_t>();
      case 1:
        return 0;
      case 2:
        return static_cast<uint32_t>(kLow) - input.take<uint8_t>();
      case 3:
        return input.take<uint16_t>();
      default:
        return input.take<uint8_t>();
    }
  }

 private:
  struct Release {
    void operator()(uint8_t* memory) const { std::free(memory); }
  };
  using Bytes = std::unique_ptr<uint8_t, Release>;
  static Bytes make(uint64_t size) {
    auto* memory = static_cast<uint8_t*>(std::aligned_alloc(4096, size));
    std::memset(memory, 0, size);
    return Bytes(memory);
  }
  Bytes low_;
  Bytes high_;

 public:
  const GuestMemory view;
};

class Irq final : public IrqLine {
 public:
  void pulse() override { ++pulses; }
  uint64_t pulses = 0;
};

struct Descriptor {
  uint64_t address = 0;
  uint32_t length = 0;
  uint16_t flags = 0;
  uint16_t next = 0;
};
constexpr uint16_t kNext = 1;
constexpr uint16_t kWrite = 2;
constexpr uint16_t kIndirect = 4;

// One queue's ring, on a page of its own.
class Ring {
 public:
  Ring(const GuestMemory& memory, size_t index, uint16_t entries)
      : memory_(&memory),
        size(entries),
        descriptors(0x1000 * (index + 1)),
        available(descriptors + 0x800),
        used(descriptors + 0xa00) {}

  void set(uint16_t index, const Descriptor& descriptor) const {
    (void)memory_->store(descriptors + index % size * sizeof(Descriptor), descriptor);
  }
  void make_available(uint16_t head) {
    (void)memory_->store(available + 4 + index_ % size * 2, head);
    set_index(static_cast<uint16_t>(index_ + 1));
  }
  void set_index(uint16_t index) {
    index_ = index;
    (void)memory_->store(available + 2, index);
  }
  // Honest: `parts` from descriptor `first` on, made available.
  void add(uint16_t first, std::span<const Descriptor> parts) {
    for (size_t i = 0; i < parts.size(); ++i) {
      Descriptor part = parts[i];
      const auto at = static_cast<uint16_t>((first + i) % size);
      part.next = static_cast<uint16_t>((at + 1) % size);
      if (i + 1 < parts.size()) part.flags |= kNext;
      set(at, part);
    }
    make_available(static_cast<uint16_t>(first % size));
  }
  [[nodiscard]] uint16_t used_index() const { return memory_->load<uint16_t>(used + 2).value(); }

 private:
  const GuestMemory* memory_;
  uint16_t index_ = 0;

 public:
  uint16_t size;
  Gpa descriptors;
  Gpa available;
  Gpa used;
};

class VirtioGuest {
 public:
  static constexpr uint32_t kAgreed = 1 | 2 | 8;
  static constexpr uint32_t kDriverOk = 4;

  VirtioGuest(const Memory& memory, VirtioDevice& device)
      : memory(memory), transport(memory.view, device, irq), device_(device) {
    for (const uint16_t size : device.queue_sizes()) {
      rings.emplace_back(memory.view, rings.size(), size);
    }
  }

  void set(uint64_t offset, uint32_t value) {
    transport.write(offset, {reinterpret_cast<const uint8_t*>(&value), sizeof(value)});
  }
  uint32_t get(uint64_t offset) {
    uint32_t value = 0;
    transport.read(offset, {reinterpret_cast<uint8_t*>(&value), sizeof(value)});
    return value;
  }

  // As an honest driver does it, with these features of those that are offered.
  void start(uint64_t features) {
    set(0x070, 0);
    set(0x070, 1 | 2);
    const uint64_t accepted =
        (features & (device_.features() | kFeatureEventIdx | kFeatureIndirectDescriptors)) |
        kFeatureVersion1;
    set(0x024, 0);
    set(0x020, static_cast<uint32_t>(accepted));
    set(0x024, 1);
    set(0x020, static_cast<uint32_t>(accepted >> 32));
    set(0x070, kAgreed);
    for (uint32_t queue = 0; queue < rings.size(); ++queue) place(queue, rings[queue]);
    set(0x070, kAgreed | kDriverOk);
  }

  // The guest's next move that means the same to every device.
  void act(Input& input) {
    const uint32_t queue = input.below(static_cast<uint32_t>(rings.size()));
    Ring& ring = rings[queue];
    switch (input.below(13)) {
      case 0:
        return start(input.take<uint64_t>());
      case 1:
        return set(kRegisters[input.below(kRegisters.size())], input.take<uint32_t>());
      case 2:
        return access(input);
      case 3:
        return set(0x070, input.take<uint8_t>());
      case 4:
        return write_memory(input);
      case 5:
        return ring.set(input.take<uint16_t>(), any_descriptor(input));
      case 6:
        return ring.make_available(input.take<uint16_t>());
      case 7:
        return ring.set_index(input.take<uint16_t>());
      case 8:
        return move(queue, input);
      case 9:
        return add_indirect(ring, input);
      case 10:
        return save_and_restore();
      case 11:
        return add_chain(ring, input);
      default:
        return transport.queue_notified(input.below(4));
    }
  }

  // Some chain: linked honestly, of buffers that lie anywhere.
  void add_chain(Ring& ring, Input& input) {
    std::vector<Descriptor> parts(1 + input.below(8));
    for (Descriptor& part : parts) part = any_descriptor(input);
    for (Descriptor& part : parts) part.flags &= kWrite;
    ring.add(input.take<uint8_t>(), parts);
  }

  const Memory& memory;
  Irq irq;
  std::vector<Ring> rings;
  MmioTransport transport;

 private:
  static constexpr std::array<uint64_t, 24> kRegisters = {
      0x000, 0x010, 0x014, 0x020, 0x024, 0x030, 0x034, 0x038, 0x044, 0x050, 0x060, 0x064,
      0x070, 0x080, 0x084, 0x090, 0x094, 0x0a0, 0x0a4, 0x0fc, 0x100, 0x104, 0x120, 0xffc};

  void place(uint32_t queue, const Ring& ring) {
    set(0x030, queue);
    set(0x038, ring.size);
    set_address(0x080, ring.descriptors);
    set_address(0x090, ring.available);
    set_address(0x0a0, ring.used);
    set(0x044, 1);
  }
  void set_address(uint64_t offset, Gpa address) {
    set(offset, static_cast<uint32_t>(address));
    set(offset + 4, static_cast<uint32_t>(address >> 32));
  }
  static Descriptor any_descriptor(Input& input) {
    return {.address = Memory::address(input),
            .length = Memory::length(input),
            .flags = static_cast<uint16_t>(input.take<uint8_t>() & 7),
            .next = input.take<uint8_t>()};
  }
  // Any width at any offset.
  void access(Input& input) {
    std::array<uint8_t, 8> bytes{};
    const uint64_t offset = input.take<uint16_t>() % MmioTransport::kSize;
    const size_t width = 1 + input.below(8);
    if (input.coin()) return transport.read(offset, std::span(bytes).first(width));
    const auto from = input.bytes(width);
    std::copy(from.begin(), from.end(), bytes.begin());
    transport.write(offset, std::span(bytes).first(width));
  }
  void write_memory(Input& input) {
    const Gpa to = input.take<uint16_t>();
    const auto from = input.bytes(input.take<uint8_t>());
    uint8_t* at = memory.view.at(to, from.size());
    if (at != nullptr) std::copy(from.begin(), from.end(), at);
  }
  // A queue's ring somewhere else, running or not.
  void move(uint32_t queue, Input& input) {
    set(0x030, queue);
    set(0x044, input.coin() ? 1 : 0);
    set(0x038, input.take<uint16_t>());
    set_address(0x080, Memory::address(input) & ~15ULL);
    set_address(0x090, Memory::address(input) & ~1ULL);
    set_address(0x0a0, Memory::address(input) & ~3ULL);
    set(0x044, 1);
  }
  void add_indirect(Ring& ring, Input& input) {
    const Gpa table = 0x8000 + (input.below(64) * 16);
    const uint32_t entries = input.below(12);
    for (uint32_t i = 0; i < entries; ++i) {
      (void)memory.view.store(table + i * sizeof(Descriptor), any_descriptor(input));
    }
    const uint32_t bytes = input.below(8) == 0 ? input.take<uint32_t>() : entries * 16;
    const std::array<Descriptor, 1> part{Descriptor{table, bytes, kIndirect, 0}};
    ring.add(input.take<uint8_t>(), part);
  }
  // What a snapshot does: it must take its own state back.
  void save_and_restore() {
    MmioState state = transport.save();
    const auto bytes = save_state(state);
    auto loaded = load_state<MmioState>(bytes);
    FUZZ_CHECK(loaded);
    FUZZ_CHECK(transport.restore(*loaded));
    transport.kick();
  }

  VirtioDevice& device_;
};

}  // namespace thimble::fuzz

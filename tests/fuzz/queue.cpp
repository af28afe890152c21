// A virtqueue in hostile memory: whatever next_chain() hands out lies in guest memory, and no ring
// makes it run on.
#include "devices/virtio/queue.h"

#include "tests/fuzz/virtio_guest.h"

namespace thimble::fuzz {
namespace {

constexpr uint16_t kSize = 16;
constexpr size_t kLongestChain = kSize + Queue::kMaxIndirect;

bool inside(const Memory& memory, const Buffer& buffer) {
  for (const MemoryRange& range : memory.view.ranges()) {
    if (buffer.data >= range.host && buffer.data + buffer.size <= range.host + range.size) {
      return true;
    }
  }
  return false;
}

// Reads and writes all of it, so that the sanitizer sees every byte.
void use(const Memory& memory, const Chain& chain, Input& input) {
  FUZZ_CHECK(chain.readable.size() + chain.writable.size() <= kLongestChain);
  for (const Buffer& buffer : chain.readable) FUZZ_CHECK(inside(memory, buffer));
  for (const Buffer& buffer : chain.writable) FUZZ_CHECK(inside(memory, buffer));
  std::array<uint8_t, 300> bytes{};
  const size_t wanted = input.below(300);
  const uint64_t offset = input.take<uint16_t>();
  const size_t read = chain.read(offset, std::span(bytes).first(wanted));
  FUZZ_CHECK(offset + read <= std::max(chain.readable_size(), offset));
  const size_t written = chain.write(offset, std::span(bytes).first(wanted));
  FUZZ_CHECK(offset + written <= std::max(chain.writable_size(), offset));
}

void place(Queue& queue, Input& input, bool honest, const Ring& ring) {
  QueueState& state = queue.state();
  state.size = honest ? kSize : input.take<uint16_t>();
  state.descriptors = honest ? ring.descriptors : Memory::address(input);
  state.available = honest ? ring.available : Memory::address(input);
  state.used = honest ? ring.used : Memory::address(input);
  state.event_idx = input.coin() ? 1 : 0;
  queue.enable();
}

void act(Queue& queue, const Memory& memory, Ring& ring, Input& input) {
  switch (input.below(8)) {
    case 0: {
      const Gpa to = input.take<uint16_t>();
      const auto from = input.bytes(input.take<uint8_t>());
      uint8_t* at = memory.view.at(to, from.size());
      if (at != nullptr) std::copy(from.begin(), from.end(), at);
      return;
    }
    case 1:
      return ring.set(input.take<uint8_t>(),
                      {Memory::address(input), Memory::length(input),
                       static_cast<uint16_t>(input.take<uint8_t>() & 7), input.take<uint8_t>()});
    case 2:
      return ring.make_available(input.take<uint8_t>());
    case 3:
      return ring.set_index(input.take<uint16_t>());
    case 4:
      queue.put_used(input.take<uint16_t>(), input.take<uint32_t>());
      (void)queue.should_interrupt();
      return;
    case 5:
      (void)queue.enable_notifications();
      return;
    case 6:
      if (input.below(8) != 0) return;
      queue.reset();
      return place(queue, input, input.coin(), ring);
    default:
      for (int i = 0; i < kSize; ++i) {
        const auto chain = queue.next_chain();
        if (!chain) break;
        use(memory, *chain, input);
        if (input.below(8) == 0) {
          queue.undo_next();
          break;
        }
        queue.put_used(chain->head, 1);
      }
  }
}

}  // namespace
}  // namespace thimble::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace thimble::fuzz;
  Input input(data, size);
  const Memory memory;
  Ring ring(memory.view, 0, kSize);
  thimble::Queue queue(memory.view, kSize);
  place(queue, input, true, ring);
  while (!input.empty()) act(queue, memory, ring, input);
  return 0;
}

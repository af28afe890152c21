// Walking descriptor chains and moving the two ring indices; queue.h has the picture.
#include "devices/virtio/queue.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace thimble {

namespace {

// virtio 1.2, 2.7.5.
constexpr uint16_t kNext = 1;      // the chain goes on at `next`
constexpr uint16_t kWrite = 2;     // the device writes this buffer
constexpr uint16_t kIndirect = 4;  // the buffer is a table of descriptors

constexpr uint16_t kNoInterrupt = 1;  // in the available ring's flags (2.7.6)

constexpr uint64_t kDescriptorBytes = 16;
constexpr uint64_t kUsedEntryBytes = 8;
constexpr uint64_t kRingFlags = 0;
constexpr uint64_t kRingIndex = 2;
constexpr uint64_t kRingEntries = 4;

// Each ring ends in the other side's event index (2.7.7, 2.7.10).
uint64_t available_event_offset(uint16_t size) { return kRingEntries + size * kUsedEntryBytes; }
uint64_t used_event_offset(uint16_t size) { return kRingEntries + size * sizeof(uint16_t); }
uint64_t available_bytes(uint16_t size) { return used_event_offset(size) + sizeof(uint16_t); }
uint64_t used_bytes(uint16_t size) { return available_event_offset(size) + sizeof(uint16_t); }

bool aligned_in_memory(const GuestMemory& memory, Gpa base, uint64_t bytes, uint64_t alignment) {
  return base % alignment == 0 && memory.at(base, bytes) != nullptr;
}

// The other side's CPU sees our accesses in an order of its own; indices are the points where the
// two agree, so they alone are atomic.
uint16_t load_index(const GuestMemory& memory, Gpa gpa) {
  const auto* index = reinterpret_cast<const uint16_t*>(memory.at(gpa, sizeof(uint16_t)));
  return index != nullptr ? __atomic_load_n(index, __ATOMIC_ACQUIRE) : 0;
}

void store_index(const GuestMemory& memory, Gpa gpa, uint16_t value) {
  auto* index = reinterpret_cast<uint16_t*>(memory.at(gpa, sizeof(uint16_t)));
  if (index != nullptr) __atomic_store_n(index, value, __ATOMIC_RELEASE);
}

uint64_t total_size(const std::vector<Buffer>& buffers) {
  uint64_t total = 0;
  for (const Buffer& buffer : buffers) total += buffer.size;
  return total;
}

// Calls copy(at, n) for each piece of `buffers` in [offset, offset + size); returns bytes covered.
template <class Copy>
size_t for_each_piece(const std::vector<Buffer>& buffers, uint64_t offset, size_t size, Copy copy) {
  size_t covered = 0;
  for (const Buffer& buffer : buffers) {
    if (covered == size) break;
    if (offset >= buffer.size) {
      offset -= buffer.size;
      continue;
    }
    const size_t piece = std::min<size_t>(buffer.size - offset, size - covered);
    copy(buffer.data + offset, covered, piece);
    covered += piece;
    offset = 0;
  }
  return covered;
}

}  // namespace

void QueueState::describe(StateVisitor& visitor) {
  visitor.field("size", size);
  visitor.field("ready", ready);
  visitor.field("event_idx", event_idx);
  visitor.field("broken", broken);
  visitor.field("descriptors", descriptors);
  visitor.field("available", available);
  visitor.field("used", used);
  visitor.field("next_available", next_available);
  visitor.field("next_used", next_used);
  visitor.field("signalled_used", signalled_used);
}

uint64_t Chain::readable_size() const { return total_size(readable); }
uint64_t Chain::writable_size() const { return total_size(writable); }

size_t Chain::read(uint64_t offset, std::span<uint8_t> out) const {
  return for_each_piece(readable, offset, out.size(), [&](uint8_t* from, size_t at, size_t n) {
    std::memcpy(out.data() + at, from, n);
  });
}

size_t Chain::write(uint64_t offset, std::span<const uint8_t> in) const {
  return for_each_piece(writable, offset, in.size(), [&](uint8_t* to, size_t at, size_t n) {
    std::memcpy(to, in.data() + at, n);
  });
}

struct Queue::Descriptor {
  uint64_t address;
  uint32_t length;
  uint16_t flags;
  uint16_t next;
};

bool Queue::valid(const QueueState& state) const {
  return std::has_single_bit(state.size) && state.size <= max_size_ &&
         aligned_in_memory(memory_, state.descriptors, state.size * kDescriptorBytes, 16) &&
         aligned_in_memory(memory_, state.available, available_bytes(state.size), 2) &&
         aligned_in_memory(memory_, state.used, used_bytes(state.size), 4);
}

bool Queue::enable() {
  state_.ready = valid(state_) ? 1 : 0;
  if (state_.ready == 0) mark_broken();
  return state_.ready != 0;
}

void Queue::reset() { state_ = QueueState{}; }

bool Queue::restore(const QueueState& state) {
  if (state.ready > 1 || state.event_idx > 1 || state.broken > 1) return false;
  if (state.ready != 0 && !valid(state)) return false;
  state_ = state;
  return true;
}

// The driver's index, judged: it can never be more than a ring ahead of us.
std::optional<uint16_t> Queue::available_index() {
  const uint16_t index = load_index(memory_, state_.available + kRingIndex);
  if (static_cast<uint16_t>(index - state_.next_available) <= state_.size) return index;
  mark_broken();
  return std::nullopt;
}

bool Queue::has_chains() {
  if (!usable()) return false;
  const auto index = available_index();
  return index && *index != state_.next_available;
}

std::optional<Chain> Queue::next_chain() {
  if (!has_chains()) return std::nullopt;
  const Gpa slot =
      state_.available + kRingEntries + (state_.next_available % state_.size) * sizeof(uint16_t);
  const auto head = memory_.load<uint16_t>(slot);
  Chain chain;
  if (!head || !walk(state_.descriptors, state_.size, *head, true, chain)) {
    mark_broken();
    return std::nullopt;
  }
  chain.head = *head;
  ++state_.next_available;
  return chain;
}

void Queue::undo_next() { --state_.next_available; }

// Descriptors are counted, not remembered: whoever visits more than the table holds is in a loop.
bool Queue::walk(Gpa table, uint32_t count, uint16_t first, bool indirect_allowed, Chain& chain) {
  uint16_t index = first;
  for (uint32_t left = count; left > 0; --left) {
    const auto descriptor = load_descriptor(table, count, index);
    if (!descriptor) return false;
    if ((descriptor->flags & kIndirect) != 0) {
      return indirect_allowed && walk_indirect(*descriptor, chain);
    }
    if (!append(*descriptor, chain)) return false;
    if ((descriptor->flags & kNext) == 0) return true;
    index = descriptor->next;
  }
  return false;
}

// The table ends its chain (2.7.5.3.1: never together with NEXT) and holds no further tables.
bool Queue::walk_indirect(const Descriptor& descriptor, Chain& chain) {
  const uint32_t count = descriptor.length / kDescriptorBytes;
  const bool sound = (descriptor.flags & kNext) == 0 && count > 0 && count <= kMaxIndirect &&
                     descriptor.length % kDescriptorBytes == 0 &&
                     memory_.at(descriptor.address, descriptor.length) != nullptr;
  return sound && walk(descriptor.address, count, 0, false, chain);
}

std::optional<Queue::Descriptor> Queue::load_descriptor(Gpa table, uint32_t count, uint16_t index) {
  Gpa address = 0;
  if (index >= count || __builtin_add_overflow(table, index * kDescriptorBytes, &address)) {
    return std::nullopt;
  }
  return memory_.load<Descriptor>(address);
}

bool Queue::append(const Descriptor& descriptor, Chain& chain) {
  uint8_t* data = memory_.at(descriptor.address, descriptor.length);
  if (data == nullptr) return false;
  const bool writable = (descriptor.flags & kWrite) != 0;
  if (!writable && !chain.writable.empty()) return false;
  (writable ? chain.writable : chain.readable).push_back({data, descriptor.length});
  return true;
}

void Queue::put_used(uint16_t head, uint32_t written) {
  if (!usable()) return;
  struct UsedEntry {
    uint32_t id;
    uint32_t length;
  };
  const Gpa slot = state_.used + kRingEntries + (state_.next_used % state_.size) * kUsedEntryBytes;
  if (!memory_.store(slot, UsedEntry{head, written})) return mark_broken();
  ++state_.next_used;
  store_index(memory_, state_.used + kRingIndex, state_.next_used);
}

bool Queue::should_interrupt() {
  const uint16_t before = std::exchange(state_.signalled_used, state_.next_used);
  if (!usable() || before == state_.next_used) return false;
  // The driver writes its wish, then looks at our index once more; we write our index, then look
  // at its wish. Without a full fence both could miss the other.
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  if (state_.event_idx == 0) {
    return (load_index(memory_, state_.available + kRingFlags) & kNoInterrupt) == 0;
  }
  const uint16_t event = load_index(memory_, state_.available + used_event_offset(state_.size));
  // Did our index step over event + 1 since `before`? In 16-bit arithmetic, so that it may wrap.
  return static_cast<uint16_t>(state_.next_used - event - 1) <
         static_cast<uint16_t>(state_.next_used - before);
}

bool Queue::enable_notifications() {
  if (!usable()) return false;
  if (state_.event_idx != 0) {
    store_index(memory_, state_.used + available_event_offset(state_.size), state_.next_available);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);  // as in should_interrupt(), the other way round
  }
  return has_chains();
}

}  // namespace thimble

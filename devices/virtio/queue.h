// A split virtqueue as the device sees it (virtio 1.2, 2.7).
//
// Three areas lie in guest memory, at addresses that the driver chose:
//
//   descriptor table   driver writes   `size` entries of 16 bytes: {addr, len, flags, next}
//   available ring     driver writes   {flags, idx, ring[size], used_event}: heads of chains that
//                                      the device may take; idx counts up and wraps at 65536
//   used ring          device writes   {flags, idx, ring[size]{id, len}, avail_event}: heads that
//                                      the device gives back, with the bytes it wrote
//
//      driver: fill descriptors, ring[idx % size] = head, idx++          -> notify
//      device: while next_avail != idx: take chain, work, put used, idx++ -> interrupt
//
// The driver is hostile: any address, length, index or flag may be nonsense and may change while we
// look. Therefore each descriptor is copied once and judged as a copy; a chain has at most `size`
// descriptors; an indirect table is one level deep, at most kMaxIndirect entries; every buffer must
// lie in guest memory whole. A broken ring marks the queue broken: the transport then tells the
// driver that the device needs a reset (virtio 1.2, 2.1.2), and the VM goes on.
//
// Use, in the manner of bhyve:
//
//   while (auto chain = queue.next_chain()) {   // nullopt: nothing more, or queue.broken()
//     … read chain->readable, write chain->writable …
//     queue.put_used(chain->head, bytes_written);
//   }
//   transport.queue_done(index);                // asks should_interrupt() and pulses the line
//
// The guest can make chains available as fast as they are taken, so that loop may never end by
// itself: a device takes a bounded number per round and lets the event loop run in between.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "devices/guest_memory.h"
#include "devices/state.h"

namespace thimble {

struct QueueState {
  uint16_t size = 0;      // entries; power of two, at most the device's maximum
  uint8_t ready = 0;      // 1 once the driver enabled the queue
  uint8_t event_idx = 0;  // VIRTIO_RING_F_EVENT_IDX was negotiated
  uint8_t broken = 0;     // the driver broke the rules; nothing moves until a reset
  Gpa descriptors = 0;
  Gpa available = 0;
  Gpa used = 0;
  uint16_t next_available = 0;  // our position in the available ring
  uint16_t next_used = 0;       // our position in the used ring
  uint16_t signalled_used = 0;  // next_used when we last judged whether to interrupt
  void describe(StateVisitor& visitor);
};

// A host view of one descriptor's buffer. Valid as long as the machine's memory.
struct Buffer {
  uint8_t* data = nullptr;
  uint32_t size = 0;
};

// A chain taken from the available ring: what the driver lets us read, then what it lets us write
// (virtio 1.2, 2.7.4.2: writable descriptors come after all readable ones; else the queue breaks).
struct Chain {
  uint16_t head = 0;
  std::vector<Buffer> readable;
  std::vector<Buffer> writable;

  [[nodiscard]] uint64_t readable_size() const;
  [[nodiscard]] uint64_t writable_size() const;
  // Copies up to out.size() bytes starting at `offset` of the readable part; returns bytes copied.
  size_t read(uint64_t offset, std::span<uint8_t> out) const;
  size_t write(uint64_t offset, std::span<const uint8_t> in) const;
};

// Not thread-safe: the device's lock covers it.
class Queue {
 public:
  static constexpr uint16_t kMaxIndirect = 1024;

  Queue(const GuestMemory& memory, uint16_t max_size) : memory_(memory), max_size_(max_size) {}

  [[nodiscard]] uint16_t max_size() const { return max_size_; }
  QueueState& state() { return state_; }
  [[nodiscard]] bool usable() const { return state_.ready != 0 && state_.broken == 0; }
  [[nodiscard]] bool broken() const { return state_.broken != 0; }

  // Called when the driver sets QueueReady: checks size and that the three areas lie in memory and
  // are aligned (2.7: 16, 2, 4). False, and the queue broken, otherwise.
  bool enable();
  void reset();
  // Takes over saved state. False, and nothing changed, when no queue of this device could be so.
  bool restore(const QueueState& state);
  // For a device whose own rules a chain broke (no room for a status byte, say).
  void mark_broken() { state_.broken = 1; }

  // True when the driver has made chains available that were not taken yet.
  [[nodiscard]] bool has_chains();
  std::optional<Chain> next_chain();
  // Makes the chain last taken come again (for a device that cannot serve it now).
  void undo_next();

  // `written`: bytes written into the chain's writable part, from its start. On a queue that broke
  // or was reset meanwhile this does nothing.
  void put_used(uint16_t head, uint32_t written);

  // Judges, by EVENT_IDX or the driver's NO_INTERRUPT flag, whether the used entries put since the
  // last call want an interrupt (2.7.7).
  [[nodiscard]] bool should_interrupt();
  // EVENT_IDX: asks for a notification at the next chain (2.7.10); called before going idle.
  // Returns true when chains arrived meanwhile, so that the caller must look again.
  bool enable_notifications();

 private:
  struct Descriptor;
  [[nodiscard]] bool valid(const QueueState& state) const;
  std::optional<Descriptor> load_descriptor(Gpa table, uint32_t count, uint16_t index);
  bool append(const Descriptor& descriptor, Chain& chain);
  bool walk(Gpa table, uint32_t count, uint16_t first, bool indirect_allowed, Chain& chain);
  bool walk_indirect(const Descriptor& descriptor, Chain& chain);
  std::optional<uint16_t> available_index();

  const GuestMemory& memory_;
  uint16_t max_size_;
  QueueState state_;
};

}  // namespace thimble

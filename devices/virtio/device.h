// What every virtio device is to its transport, and what the transport is to the device.
//
// Locks and threads: one mutex per device. The transport takes it around every call below, be it
// from a vCPU thread (register access) or from the event loop (a queue was notified). A device
// whose own descriptors become ready on the event loop takes it too: `std::scoped_lock
// guard(lock())`. So inside a device there is no concurrency. No call may block, but for reset()
// and drain(), which wait for host I/O that is under way in guest memory.
#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "devices/result.h"
#include "devices/state.h"
#include "devices/virtio/queue.h"

namespace thimble {

// Device ids (virtio 1.2, 5).
enum class VirtioId : uint32_t { kBlock = 2, kEntropy = 4, kVsock = 19 };

// Feature bits that the transport negotiates for all devices (virtio 1.2, 6).
constexpr uint64_t kFeatureIndirectDescriptors = 1ULL << 28;
constexpr uint64_t kFeatureEventIdx = 1ULL << 29;
constexpr uint64_t kFeatureVersion1 = 1ULL << 32;

// What read_config() does for a device whose configuration space is these bytes: copies what lies
// in [offset, offset + data.size()) of them.
void copy_config(std::span<const uint8_t> config, uint32_t offset, std::span<uint8_t> data);

// The transport as a device sees it. Called with the device's lock held.
class VirtioTransport {
 public:
  virtual ~VirtioTransport() = default;
  virtual Queue& queue(size_t index) = 0;
  // Used entries were put: interrupts the driver if it wants that. If the queue broke, tells the
  // driver that the device needs a reset instead.
  virtual void queue_done(size_t index) = 0;
  // The device's configuration space changed.
  virtual void config_changed() = 0;
};

class VirtioDevice {
 public:
  virtual ~VirtioDevice() = default;

  [[nodiscard]] virtual VirtioId id() const = 0;
  // The device's own feature bits; the transport adds the common ones above.
  [[nodiscard]] virtual uint64_t features() const = 0;
  // One entry per queue: its largest size.
  [[nodiscard]] virtual std::span<const uint16_t> queue_sizes() const = 0;

  // The device's configuration space (reads past its end leave zeros; writes there do nothing).
  virtual void read_config(uint32_t offset, std::span<uint8_t> data) = 0;
  virtual void write_config(uint32_t offset, std::span<const uint8_t> data);

  // The driver set DRIVER_OK: queues are usable from now until reset(). `features` is what was
  // negotiated.
  virtual void activate(VirtioTransport& transport, uint64_t features) = 0;
  // The driver notified queue `index`.
  virtual void notify(size_t index) = 0;
  // The driver reset the device: forget the transport, drop requests, complete nothing more. On
  // return the host no longer reads or writes guest memory for this device, because the driver now
  // uses those pages for other things.
  virtual void reset() = 0;
  // The machine is paused and its memory is about to be saved: finish what the host has under way
  // in guest memory and put the used entries. With the lock held.
  virtual void drain();

  // What must survive a snapshot besides the transport's state, as its describe() writes it, and
  // back: restore_state() comes before the transport's restore(). Without the lock. For a device
  // that has nothing to keep the defaults do.
  [[nodiscard]] virtual std::vector<uint8_t> saved_state() { return {}; }
  virtual Result<void> restore_state(std::span<const uint8_t> saved);

  std::mutex& lock() { return lock_; }

 private:
  std::mutex lock_;
};

}  // namespace thimble

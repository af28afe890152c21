// A driver that sets a device up through the registers of its virtio-mmio transport.
#pragma once

#include <cstring>
#include <deque>

#include "devices/virtio/mmio.h"
#include "tests/unit/devices/fake_guest.h"

namespace thimble::fake {

class MmioDriver {
 public:
  static constexpr uint32_t kAcknowledge = 1;
  static constexpr uint32_t kDriver = 2;
  static constexpr uint32_t kDriverOk = 4;
  static constexpr uint32_t kFeaturesOk = 8;
  static constexpr uint32_t kNeedsReset = 64;

  MmioDriver(Guest& in, VirtioDevice& device) : guest(in), transport(in.memory, device, irq) {}

  uint32_t get(uint64_t offset) {
    uint32_t value = 0xdeadbeef;
    transport.read(offset, std::span(reinterpret_cast<uint8_t*>(&value), sizeof(value)));
    return value;
  }
  void set(uint64_t offset, uint32_t value) {
    transport.write(offset, std::span(reinterpret_cast<const uint8_t*>(&value), sizeof(value)));
  }
  uint32_t status() { return get(0x070); }
  void set_status(uint32_t value) { set(0x070, value); }

  uint64_t offered_features() {
    set(0x014, 0);
    const uint64_t low = get(0x010);
    set(0x014, 1);
    return low | static_cast<uint64_t>(get(0x010)) << 32;
  }
  void accept_features(uint64_t features) {
    set(0x024, 0);
    set(0x020, static_cast<uint32_t>(features));
    set(0x024, 1);
    set(0x020, static_cast<uint32_t>(features >> 32));
  }
  // True when the device agreed.
  bool negotiate(uint64_t features) {
    set_status(0);
    set_status(kAcknowledge);
    set_status(kAcknowledge | kDriver);
    accept_features(features);
    set_status(kAcknowledge | kDriver | kFeaturesOk);
    return (status() & kFeaturesOk) != 0;
  }
  // Tells the registers where a ring lies, and switches the queue on.
  void set_queue(uint32_t index, const DriverQueue& ring) {
    set(0x030, index);
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
  // The whole way to DRIVER_OK with fresh rings of the largest size.
  void start(uint64_t features) {
    if (!negotiate(features)) std::abort();
    rings.clear();
    for (uint32_t index = 0; index < transport.queue_count(); ++index) {
      set(0x030, index);
      rings.emplace_back(guest, static_cast<uint16_t>(get(0x034)));
      set_queue(index, rings.back());
    }
    set_status(kAcknowledge | kDriver | kFeaturesOk | kDriverOk);
  }
  void start() { start(offered_features() & ~kFeatureEventIdx); }

  Guest& guest;
  Irq irq;
  MmioTransport transport;
  std::deque<DriverQueue> rings;
};

}  // namespace thimble::fake

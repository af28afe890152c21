// The two address spaces that exits arrive in, port I/O and MMIO: which device owns an address.
// Set up before the first vCPU runs and immutable then, so vCPU threads look up without a lock.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "devices/result.h"

namespace thimble {

// A device on a bus. Offsets are relative to the base it was attached at. Calls come from vCPU
// threads, from several at once when there are several: the device does its own locking. An access
// of an odd size or at an odd offset is the guest's mistake: reads leave zeros, writes do nothing.
class BusDevice {
 public:
  virtual ~BusDevice() = default;
  virtual void read(uint64_t offset, std::span<uint8_t> data) = 0;
  virtual void write(uint64_t offset, std::span<const uint8_t> data) = 0;
};

class Bus {
 public:
  // Fails when the range is empty, wraps, or overlaps another. The device is not owned.
  Result<void> attach(uint64_t base, uint64_t size, BusDevice& device);

  // False when nobody owns the whole access; a read is then filled with ones, as on hardware.
  bool read(uint64_t address, std::span<uint8_t> data) const;
  bool write(uint64_t address, std::span<const uint8_t> data) const;

 private:
  struct Entry {
    uint64_t base;
    uint64_t size;
    BusDevice* device;
  };
  [[nodiscard]] const Entry* find(uint64_t address, uint64_t size) const;
  std::vector<Entry> entries_;  // sorted by base
};

}  // namespace thimble

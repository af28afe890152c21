// One virtio-blk request, read out of its chain (virtio 1.2, 5.2.6):
//
//   readable: header {type, reserved, sector}, then the data of a write
//   writable: the data of a read, then one status byte
//
// Where descriptors begin and end inside these two runs of bytes means nothing (2.7.4.1).
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "devices/virtio/queue.h"

namespace thimble {

enum class BlkType : uint32_t { kIn = 0, kOut = 1, kFlush = 4, kGetId = 8 };
enum class BlkStatus : uint8_t { kOk = 0, kIoError = 1, kUnsupported = 2 };

constexpr uint64_t kSectorBytes = 512;

struct BlkRequest {
  uint16_t head = 0;
  BlkType type{};  // any value: it is the guest's
  uint64_t sector = 0;
  std::vector<iovec> data;  // guest memory to write from (kOut) or to fill (everything else)
  uint64_t data_bytes = 0;
  uint8_t* status = nullptr;  // in guest memory

  // Nothing when there is no room for header or status, so that not even an error can be told.
  static std::optional<BlkRequest> parse(const Chain& chain);

  // Whole sectors that lie within a disk of `capacity` sectors.
  [[nodiscard]] bool fits(uint64_t capacity) const;
};

}  // namespace thimble

// Time that only goes forwards, also across a clone: the host restores the guest's clock so that
// deadlines set before a snapshot keep their distance.
#pragma once

#include <stdint.h>
#include <time.h>

namespace thimble::init {

inline uint64_t now_ms() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1000000;
}

}  // namespace thimble::init

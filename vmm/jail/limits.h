// Resource limits of a VMM process (setrlimit(2)): what a taken-over one can use up of the host.
#pragma once

#include <cstdint>

#include "devices/result.h"

namespace thimble {

struct Limits {
  uint64_t memory_bytes = 0;  // of the guest; the VMM's own address space comes on top
  uint64_t file_bytes = 0;    // the largest file that it may write
};

// `own_user_namespace`: the number of processes is counted for this VM alone.
Result<void> set_limits(const Limits& limits, bool own_user_namespace);

}  // namespace thimble

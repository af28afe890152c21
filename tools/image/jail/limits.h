// What one build may use up of the host. Archives of a registry can be made to unpack to anything,
// and a registry can let a client wait for ever.
#pragma once

#include <chrono>
#include <cstdint>

#include "devices/result.h"

namespace thimble::image {

struct BuildLimits {
  std::chrono::seconds time{30 * 60};  // from the builder's start to the finished image
  std::uint64_t bytes = std::uint64_t{8}
                        << 30;      // of all files of the build folder, and of each one
  std::uint64_t files = 1'000'000;  // and folders, in the build folder
  std::uint64_t memory = std::uint64_t{4}
                         << 30;  // of each process; of all where a cgroup is delegated
};

// The above, or what THIMBLE_BUILD_SECONDS, THIMBLE_BUILD_MIB and THIMBLE_BUILD_FILES say.
Result<BuildLimits> build_limits();

// For this process and those that it starts. The limits on all of the build folder are the
// outside's to watch (jailed_build.h).
Result<void> set_limits(const BuildLimits& limits);

}  // namespace thimble::image

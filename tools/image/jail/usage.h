// How much a folder holds that somebody else is writing to: looked at by descriptor, without
// following a symbolic link.
#pragma once

#include <cstdint>
#include <filesystem>

#include "tools/image/jail/limits.h"

namespace thimble::image {

struct Usage {
  std::uint64_t files = 0;  // and folders
  std::uint64_t bytes = 0;  // blocks on disk
  bool too_deep = false;    // folders in folders, more than any package has

  bool exceeds(const BuildLimits& limits) const {
    return too_deep || files > limits.files || bytes > limits.bytes;
  }
};

// Stops as soon as a limit is exceeded. What vanishes meanwhile is not counted.
Usage measure(const std::filesystem::path& folder, const BuildLimits& limits);

}  // namespace thimble::image

// A directory of the host that goes into a guest: what is in it, and a fingerprint that changes
// when anything in it does, so that an unchanged directory is not packed again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "devices/result.h"
#include "tools/image/request.h"

namespace thimble::image {

struct Survey {
  std::string fingerprint;  // over path, type, mode, size, times of every entry
  std::uint64_t bytes = 0;
  std::uint64_t files = 0;
  std::vector<std::string> left_out;  // relative: sockets, devices, what may not be read, .git
  std::uint64_t unreadable = 0;       // how many of them could not be read
};

// Walks request.path without following symbolic links. Fails when it is too large to copy.
Result<Survey> survey_host_path(const Request& request);

}  // namespace thimble::image

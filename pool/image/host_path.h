// A directory of the host that goes into a guest: what is in it, and a fingerprint that changes
// when anything in it does, so that an unchanged directory is not packed again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "devices/result.h"
#include "pool/image/request.h"

namespace thimble::image {

struct Survey {
  std::string fingerprint;  // over path, type, mode, size, times of every entry
  std::uint64_t bytes = 0;
  std::uint64_t files = 0;
  std::vector<std::string> left_out;  // relative: sockets, devices, what may not be read, .git
  std::uint64_t unreadable = 0;       // how many of them could not be read
  std::vector<std::string> links;     // relative: the symbolic links
};

// Walks request.path without following symbolic links. Fails when it is too large to copy.
Result<Survey> survey_host_path(const Request& request);

// The links of a surveyed directory that lead out of it to what the guest has not by itself: they
// lead nowhere there, unless that goes in too.
std::vector<std::string> links_that_lead_out(const Request& request, const Survey& survey);

}  // namespace thimble::image

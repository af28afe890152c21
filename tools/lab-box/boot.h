// What the agent does as PID 1 of the box before it serves: modules, file systems, network. The
// box's root is the machine's own file tree (virtiofs, read-only) with a layer in memory above it.
#pragma once

#include <string>
#include <vector>

#include "devices/result.h"

namespace thimble::lab {

// /lab.conf of the initramfs: lines of `key value`.
struct BoxConfig {
  std::string token;
  std::vector<std::string> binds;  // directories shared read-write with the machine, same path
};

Result<BoxConfig> read_config(const std::string& path);

// Leaves the process in the box's final root.
Result<void> boot(const BoxConfig& config);

}  // namespace thimble::lab

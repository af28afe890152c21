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
  bool virtual_time = false;
};

Result<BoxConfig> read_config(const std::string& path);

// Leaves the process in the box's final root.
Result<void> boot(const BoxConfig& config);

// Makes changes that were made outside to the machine's files visible in the box.
void refresh_root();

}  // namespace thimble::lab

// The file tree of a jail: what is named here, each at its place, and nothing else of the host. All
// of it is read-only but what is said to be writable; set-user-id bits and device files count
// nowhere. Besides there are /proc of the jail's own processes (read-only), /tmp in memory, and
// /dev with null, zero, full, random and urandom.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "devices/result.h"

namespace thimble::image {

struct JailMount {
  std::filesystem::path from;  // on the host, a folder or a file, no symbolic link
  std::filesystem::path to;    // absolute; not below another mount's place
  bool writable = false;
};

struct RootTree {
  std::vector<JailMount> mounts;
  std::vector<std::pair<std::filesystem::path, std::string>> files;            // place, content
  std::vector<std::pair<std::filesystem::path, std::filesystem::path>> links;  // place, target
};

// In a mount namespace of our own and with capabilities over it: makes the tree and enters it, with
// `/` as the working directory. Afterwards nothing else of the host is mounted in the namespace.
Result<void> enter_root(const RootTree& tree);

}  // namespace thimble::image

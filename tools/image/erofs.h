// Makes erofs files from a directory (pool/image/erofs_check.h looks at them).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "devices/result.h"

namespace thimble::image {

enum class Compression { kLz4, kNone };

// What the image says of its files beside their content. As it is: what an image of ours needs, in
// which nothing may differ from build to build.
struct Stamp {
  bool keeps_times = false;   // else all are of 1980
  bool keeps_owners = false;  // else everything is of these:
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
};

// Makes `file` from the directory. The same tree gives the same bytes: fixed UUID, no extended
// attributes, and times and owners as `stamp` says. `exclude` holds paths relative to `directory`.
// Needs mkfs.erofs (Debian package erofs-utils).
Result<void> make_erofs(const std::filesystem::path& directory, const std::filesystem::path& file,
                        Compression compression, const std::vector<std::string>& exclude = {},
                        const Stamp& stamp = {});

}  // namespace thimble::image

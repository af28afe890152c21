// erofs files: making them from a directory, and the cheap checks that tell a whole image from
// something else before a guest is started with it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "devices/base/file_fault.h"
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

// Fails unless `path` is a regular file that starts with a sound erofs superblock (on-disk format:
// fs/erofs/erofs_fs.h of Linux) and holds as many blocks as that says. Reads one block only.
Result<void> check_erofs_file(const std::filesystem::path& path);
// The same for one that is open, and its length.
FileResult<std::uint64_t> check_erofs(int file, const std::filesystem::path& path);

}  // namespace thimble::image

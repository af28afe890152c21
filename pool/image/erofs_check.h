// The cheap checks that tell a whole erofs image from something else before a guest is started with
// it.
#pragma once

#include <cstdint>
#include <filesystem>

#include "devices/base/file_fault.h"
#include "devices/result.h"

namespace thimble::image {

// Fails unless `path` is a regular file that starts with a sound erofs superblock (on-disk format:
// fs/erofs/erofs_fs.h of Linux) and holds as many blocks as that says. Reads one block only.
Result<void> check_erofs_file(const std::filesystem::path& path);
// The same for one that is open, and its length.
FileResult<std::uint64_t> check_erofs(int file, const std::filesystem::path& path);

}  // namespace thimble::image

// Tells whether a file is still the one that was looked at before: device, inode, length and times,
// which change whenever its content does.
#pragma once

#include <string>

#include "devices/result.h"

namespace thimble {

Result<std::string> file_mark(int fd);
Result<std::string> file_mark(const std::string& path);  // follows links

}  // namespace thimble

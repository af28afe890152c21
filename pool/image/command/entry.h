// What node and python run when they are given a directory.
#pragma once

#include <filesystem>
#include <string>

#include "pool/image/command/invocation.h"

namespace thimble::image {

// Why there is nothing in `directory` for that runtime to start, as a line for the user; empty when
// there is, or when it may be.
std::string missing_entry(Runtime runtime, const std::filesystem::path& directory);

}  // namespace thimble::image

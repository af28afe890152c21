// SHA-256 by libcrypto, of text and of whole files. Results are lower-case hex.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "devices/result.h"

namespace thimble::image {

std::string sha256_text(std::string_view text);
Result<std::string> sha256_file(const std::filesystem::path& path);

}  // namespace thimble::image

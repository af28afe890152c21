// What the python of images is, and which interpreters of the host it may stand for.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "devices/result.h"

namespace thimble::image {

inline constexpr std::string_view kPythonVersion = "3.11";

// "3.11", "3.11.2" or "3.11.2.final.0".
bool is_image_version(std::string_view version);

// Fails when the command means another python: by version ("python3.12") or by the place of an
// installation with packages of its own. `name`: the file name; `written`: absolute, empty for a
// bare name.
Result<void> check_python(const std::string& name, const std::filesystem::path& written);

// Whether its standard library has the module, "http.server" by its first part.
bool is_standard_module(const std::string& module);
// Whether python finds it in that directory.
bool has_module(const std::filesystem::path& directory, const std::string& module);

}  // namespace thimble::image

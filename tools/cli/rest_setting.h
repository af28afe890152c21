// After how long without work a clone gives its memory back (VmSpec::rest_after), as users set it:
// THIMBLE_REST_AFTER, "2s" or "never".
#pragma once

#include <chrono>
#include <optional>

#include "devices/result.h"

namespace thimble::cli {

inline constexpr const char* kRestAfterVariable = "THIMBLE_REST_AFTER";
inline constexpr const char* kDefaultRestAfter = "500ms";

// Of this process's environment.
Result<std::optional<std::chrono::milliseconds>> rest_setting();

}  // namespace thimble::cli

// After how long without work a clone gives its memory back (VmSpec::reclaim_after), as users set
// it: THIMBLE_RECLAIM_AFTER, "2s" or "never".
#pragma once

#include <chrono>
#include <optional>

#include "devices/result.h"

namespace thimble::cli {

// Of this process's environment. The variable's earlier name goes on, with a note on stderr.
Result<std::optional<std::chrono::milliseconds>> reclaim_setting();

}  // namespace thimble::cli

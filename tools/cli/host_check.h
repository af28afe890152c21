// Whether this host can run Linux guests at all, asked before any image is built.
#pragma once

#include "devices/result.h"

namespace thimble::cli {

// The error is one line that says why not, and names the lab where that is the way out.
Result<void> check_host();

// More memory than the host has would be promised to the guest and then taken away by the host's
// out-of-memory killer: refused.
Result<void> check_memory(uint64_t bytes);

}  // namespace thimble::cli

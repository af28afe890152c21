// Whether this host can run Linux guests at all, asked before any image is built.
#pragma once

#include "devices/result.h"
#include "pool/image/plan.h"
#include "pool/launch/server_config.h"

namespace thimble::cli {

// The error is one line that says why not, and names the lab where that is the way out.
Result<void> check_host();

// With what it tells on stderr.
Result<image::Prepared> prepare_server(const launch::ServerConfig& config);

}  // namespace thimble::cli

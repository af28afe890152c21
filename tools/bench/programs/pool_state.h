// What a daemon of pool/ says of its VMs, for programs that wait until it has done its work.
#pragma once

#include <string>

#include "devices/result.h"
#include "pool/daemon/daemon_client.h"

namespace thimble::bench {

// `folder`: the daemon's (pool/daemon/runtime_folder.h).
Result<DaemonClient> connect_to_pool(const std::string& folder);

// Whether the daemon at `socket` has a warm VM ready and no VM that comes or goes; nor a claimed
// one, unless `with_claimed`.
Result<bool> pool_is_settled(const std::string& folder, bool with_claimed);

}  // namespace thimble::bench

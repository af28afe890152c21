// What a daemon of pool/ says of its VMs, for programs that wait until it has done its work.
#pragma once

#include <string>

#include "devices/result.h"

namespace thimble::bench {

// Whether the daemon at `socket` has a shell ready and no VM that comes or goes; nor a claimed one,
// unless `with_claimed`.
Result<bool> pool_is_settled(const std::string& socket, bool with_claimed);

}  // namespace thimble::bench

// A folder that is being filled belongs to whoever holds a lock (flock) on it. One that nobody
// holds was left by a maker that was killed, and may be removed by who then has its lock. The lock
// goes with its descriptor.
#pragma once

#include <string>

#include "devices/fd.h"

namespace thimble {

// Nothing, with errno, when somebody else holds it or there is no such folder (any more).
Fd lock_draft(const std::string& folder);

// Whether `path` names what is open as `fd`, and not something that has taken its place, or
// nothing.
bool is_still(const Fd& fd, const std::string& path);

}  // namespace thimble

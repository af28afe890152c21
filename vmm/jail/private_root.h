// The root directory of a VMM process: an empty, read-only file system of its own. Its sockets and
// files came as descriptors, so there is nothing that it needs by name.
#pragma once

#include "devices/result.h"

namespace thimble {

// In a mount namespace of our own and with CAP_SYS_ADMIN over it. Afterwards nothing of the host's
// tree is mounted in the namespace any more, /proc included.
Result<void> enter_private_root();

}  // namespace thimble

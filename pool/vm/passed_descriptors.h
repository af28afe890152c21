// Descriptors that came with a message over a unix socket (SCM_RIGHTS, unix(7)).
#pragma once

#include <sys/socket.h>

#include <vector>

#include "devices/fd.h"

namespace thimble {

// Takes all of them out of a message that recvmsg() filled; to be called once for each, since the
// process owns them from then on, wanted or not.
std::vector<Fd> passed_descriptors(msghdr& message);

}  // namespace thimble

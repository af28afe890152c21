// Who a guest is, told to it before any byte of a client's: what no two guests may have in common.
#pragma once

#include <cstdint>

#include "devices/result.h"
#include "pool/guest/guest_control.h"

namespace thimble {

// Fresh entropy, this machine's wall clock, a host name. Mounts are for guests that boot: a clone
// has them already.
Result<GuestIdentity> make_identity();

// Nanoseconds since 1970.
uint64_t wall_clock_ns();

}  // namespace thimble

// Who this guest is, told by the host over the control channel before any server code runs: fresh
// entropy, wall clock, host name, loopback names.
#pragma once

#include "guest-init/codec.h"

namespace thimble::init {

[[nodiscard]] bool set_identity(const Configure& message, Failure& failure);

// Brings up lo, the only network interface.
[[nodiscard]] bool start_loopback(Failure& failure);

}  // namespace thimble::init

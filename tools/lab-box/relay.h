// Carries connections from outside to a port of the box's loopback. QEMU's user network can reach
// only the box's own address, and servers usually listen on 127.0.0.1 alone.
#pragma once

#include <cstdint>

#include "devices/fd.h"
#include "devices/result.h"

namespace thimble::lab {

struct RelayListener {
  Fd socket;
  uint16_t port;
};

Result<RelayListener> listen_for_relay();

// Never returns. One process per connection.
[[noreturn]] void relay(Fd listener, uint16_t loopback_port);

}  // namespace thimble::lab

// The streams of a guest's server, or of a process beside it: connected, non-blocking sockets.
#pragma once

#include "devices/fd.h"
#include "guest-init/protocol.h"
#include "pool/vm/vm_process.h"

namespace thimble {

struct ServerStreams {
  Fd input;
  Fd output;
  Fd error;  // with a terminal: none
};

// One of them. The guest joins it with the server's descriptor when the server is started.
Result<Fd> connect_stream(VmProcess& vm, protocol::Stream which,
                          uint32_t process = protocol::kServerProcess);

Result<ServerStreams> connect_streams(VmProcess& vm, uint32_t process = protocol::kServerProcess,
                                      bool has_terminal = false);

}  // namespace thimble

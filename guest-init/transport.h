// Where the host's connections come from: vsock in a guest, unix sockets in tests on the host.
#pragma once

#include <stdint.h>

namespace thimble::init {

// Listening non-blocking sockets; -1 with errno on failure. The caller owns the descriptor.
[[nodiscard]] int listen_vsock(uint32_t port);
[[nodiscard]] int listen_unix(const char* path);

// One waiting connection, non-blocking, or -1 when there is none. On vsock only the host (CID 2)
// gets in: others are closed at once.
[[nodiscard]] int accept_host(int listener);

// Connects to a port of the host and closes the connection: the connection is the message.
// False with errno on failure.
[[nodiscard]] bool announce_vsock(uint32_t port);

}  // namespace thimble::init

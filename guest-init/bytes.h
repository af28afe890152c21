// A run of bytes that somebody else owns, and a failure as it is told to the host. The smallest
// vocabulary that init's files share; there is no C++ library here.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace thimble::init {

struct Bytes {
  const char* data = nullptr;
  size_t size = 0;
};

[[nodiscard]] Bytes bytes_of(const char* text);
[[nodiscard]] bool equal(Bytes left, Bytes right);

// What could not be done: becomes kFailed on the control channel. `step` is a protocol::Step.
struct Failure {
  uint32_t step = 0;
  int error = 0;        // errno
  char text[256] = {};  // what was tried: "mount /dev/vdb on /app"
};

// Fills `failure` from a printf format; always returns false, so that callers can return it.
[[gnu::format(printf, 4, 5)]] bool fail(Failure& failure, uint32_t step, int error,
                                        const char* format, ...);

}  // namespace thimble::init

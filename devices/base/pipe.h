// A pipe: two descriptors, closed over an exec.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <array>

#include "devices/fd.h"
#include "devices/result.h"

namespace thimble {

struct Pipe {
  Fd read;
  Fd write;
};

inline Result<Pipe> make_pipe() {
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno("make a pipe");
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

}  // namespace thimble

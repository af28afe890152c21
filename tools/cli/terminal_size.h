// How large the user's terminal is.
#pragma once

#include <sys/ioctl.h>
#include <unistd.h>

#include "guest-init/protocol.h"

namespace thimble::cli {

// Of the first of stdin, stdout and stderr that is one; otherwise what terminals used to have.
inline protocol::Window terminal_size() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    winsize size{};
    if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_row > 0) return {size.ws_row, size.ws_col};
  }
  return {24, 80};
}

}  // namespace thimble::cli

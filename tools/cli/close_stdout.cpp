// See close_stdout.h.
#include "tools/cli/close_stdout.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "mcp-agent/server_run.h"
#include "tools/cli/say.h"

namespace thimble::cli {

int close_stdout(int status) {
  const bool failed_before = std::ferror(stdout) != 0;
  errno = 0;
  const bool flushed = std::fflush(stdout) == 0;
  const int why = errno;
  // Some file systems only tell of a full disk here.
  const bool closed = ::close(STDOUT_FILENO) == 0 || errno == EBADF;
  const int error = flushed ? errno : why;
  const bool fails_now = !flushed || !closed;
  if ((!fails_now && !failed_before) || error == EPIPE) return status;
  // What failed before has been said where it failed.
  if (fails_now) say(std::string("stdout: ") + std::strerror(error));
  return status == 0 ? kExitOutput : status;
}

}  // namespace thimble::cli

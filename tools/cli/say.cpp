// See say.h.
#include "tools/cli/say.h"

#include <poll.h>
#include <unistd.h>

#include <string>

namespace thimble::cli {

void say(std::string_view line) {
  constexpr int kPatienceMs = 200;
  pollfd ready{STDERR_FILENO, POLLOUT, 0};
  if (::poll(&ready, 1, kPatienceMs) != 1 || (ready.revents & POLLOUT) == 0) return;
  const std::string out = "thimble: " + std::string(line) + "\n";
  (void)!::write(STDERR_FILENO, out.data(), out.size());
}

}  // namespace thimble::cli

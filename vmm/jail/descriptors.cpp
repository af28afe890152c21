// See descriptors.h.
#include "vmm/jail/descriptors.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

namespace thimble {

namespace {

void silence_standard_streams(bool keep_stderr) {
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return;  // they are closed then, which serves as well
  ::dup2(null, STDIN_FILENO);
  ::dup2(null, STDOUT_FILENO);
  if (!keep_stderr) ::dup2(null, STDERR_FILENO);
  if (null > STDERR_FILENO) ::close(null);
}

}  // namespace

void keep_only_descriptors(std::span<const int> kept, bool keep_stderr) {
  // First, since a kept descriptor is never one of these three.
  silence_standard_streams(keep_stderr);
  std::vector<int> sorted(kept.begin(), kept.end());
  std::sort(sorted.begin(), sorted.end());
  unsigned next = STDERR_FILENO + 1;
  for (const int fd : sorted) {
    if (fd < static_cast<int>(next)) continue;
    if (fd > static_cast<int>(next)) ::close_range(next, static_cast<unsigned>(fd) - 1, 0);
    next = static_cast<unsigned>(fd) + 1;
  }
  ::close_range(next, ~0U, 0);
}

void leave_terminal_and_signals() {
  ::setsid();
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
  ::signal(SIGPIPE, SIG_IGN);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

}  // namespace thimble

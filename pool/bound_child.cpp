// See bound_child.h.
#include "pool/bound_child.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "devices/fd.h"
#include "devices/text.h"

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

// Closes everything above stderr but `kept`.
void close_all_but(std::vector<int> kept) {
  std::sort(kept.begin(), kept.end());
  unsigned next = STDERR_FILENO + 1;
  for (const int fd : kept) {
    if (fd < static_cast<int>(next)) continue;
    if (fd > static_cast<int>(next)) ::close_range(next, static_cast<unsigned>(fd) - 1, 0);
    next = static_cast<unsigned>(fd) + 1;
  }
  ::close_range(next, ~0U, 0);
}

void forget_signal_setup() {
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
  ::signal(SIGPIPE, SIG_IGN);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

[[noreturn]] void run_child(const std::function<int()>& body, std::span<const int> kept,
                            bool keep_stderr, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The parent may have died before the line above: then nobody would ever kill this process.
  if (::getppid() != parent) ::_exit(EXIT_FAILURE);
  ::setsid();
  forget_signal_setup();
  silence_standard_streams(keep_stderr);
  close_all_but({kept.begin(), kept.end()});
  ::_exit(body());
}

}  // namespace

Result<BoundChild> BoundChild::start(const std::function<int()>& body, std::span<const int> kept,
                                     bool keep_stderr) {
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno("start a process for the VM");
  if (pid == 0) run_child(body, kept, keep_stderr, parent);
  return BoundChild(pid);
}

BoundChild::BoundChild(BoundChild&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), status_(other.status_) {}

BoundChild& BoundChild::operator=(BoundChild&& other) noexcept {
  if (this != &other) {
    kill_and_reap();
    pid_ = std::exchange(other.pid_, -1);
    status_ = other.status_;
  }
  return *this;
}

BoundChild::~BoundChild() { kill_and_reap(); }

std::optional<int> BoundChild::wait_or_kill(std::chrono::milliseconds patience) {
  if (pid_ > 0) {
    const Fd handle(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
    pollfd ended{handle.get(), POLLIN, 0};
    if (handle) ::poll(&ended, 1, static_cast<int>(patience.count()));
  }
  return kill_and_reap();  // no signal reaches a child that has ended: it keeps its status
}

std::optional<int> BoundChild::kill_and_reap() {
  if (pid_ <= 0) return status_;
  ::kill(pid_, SIGKILL);
  int status = 0;
  pid_t got = 0;
  while ((got = ::waitpid(pid_, &status, 0)) < 0 && errno == EINTR) {
  }
  if (got == pid_) status_ = status;
  pid_ = -1;
  return status_;
}

std::string describe_wait_status(int status) {
  if (WIFSIGNALED(status)) {
    return text("signal %d (%s)", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
  }
  return text("exit status %d", WEXITSTATUS(status));
}

}  // namespace thimble

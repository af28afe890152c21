// See bound_child.h.
#include "pool/vm/bound_child.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <utility>

#include "devices/text.h"
#include "vmm/jail/descriptors.h"

namespace thimble {

namespace {

[[noreturn]] void run_child(const std::function<int()>& body, std::span<const int> kept,
                            bool keep_stderr, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The parent may have died before the line above: then nobody would ever kill this process.
  if (::getppid() != parent) ::_exit(EXIT_FAILURE);
  leave_terminal_and_signals();
  keep_only_descriptors(kept, keep_stderr);
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

Result<BoundChild> BoundChild::start_jailed(const JailedBody& body, std::span<const int> kept,
                                            const JailOptions& options) {
  auto process = thimble::start_jailed(options, kept, body);
  if (!process) return std::unexpected(process.error());
  return BoundChild(std::move(*process));
}

Result<BoundChild> BoundChild::start_program(int program, const char* name,
                                             std::span<const int> descriptors,
                                             const JailOptions& options) {
  auto process = start_in_jail(options, program, name, descriptors);
  if (!process) return std::unexpected(process.error());
  return BoundChild(std::move(*process));
}

BoundChild::BoundChild(BoundChild&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      status_(other.status_),
      lifeline_(std::move(other.lifeline_)),
      cgroup_(std::move(other.cgroup_)) {}

BoundChild& BoundChild::operator=(BoundChild&& other) noexcept {
  if (this != &other) {
    kill_and_reap();
    pid_ = std::exchange(other.pid_, -1);
    status_ = other.status_;
    lifeline_ = std::move(other.lifeline_);
    cgroup_ = std::move(other.cgroup_);
  }
  return *this;
}

BoundChild::~BoundChild() { kill_and_reap(); }

std::optional<int> BoundChild::wait_or_kill(std::chrono::milliseconds timeout) {
  if (pid_ > 0) {
    const Fd handle(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
    pollfd ended{handle.get(), POLLIN, 0};
    if (handle) ::poll(&ended, 1, static_cast<int>(timeout.count()));
  }
  return kill_and_reap();  // no signal reaches a child that has ended: it keeps its status
}

void BoundChild::start_killing() const {
  if (pid_ > 0) ::kill(pid_, SIGKILL);
}

std::optional<int> BoundChild::reap_if_gone() {
  if (pid_ <= 0) return status_;
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  status_ = status;
  pid_ = -1;
  lifeline_.reset();
  cgroup_ = Cgroup();
  return status_;
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
  lifeline_.reset();
  cgroup_ = Cgroup();  // now that it is empty
  return status_;
}

std::string describe_wait_status(int status) {
  if (WIFSIGNALED(status)) {
    return text("signal %d (%s)", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
  }
  return text("exit status %d", WEXITSTATUS(status));
}

}  // namespace thimble

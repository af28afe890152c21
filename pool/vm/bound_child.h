// A child process that cannot outlive its parent: killed by the kernel when the parent dies however
// that happens, in a session of its own (a ^C at the terminal reaches the parent only), and with no
// descriptors but those it is given.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "devices/fd.h"
#include "devices/result.h"
#include "vmm/jail/jail.h"

namespace thimble {

class BoundChild {
 public:
  // A program in a jail, with nothing as stderr (start_in_jail() of vmm/jail/jail.h). The thread
  // that calls must live as long as the child: the kernel's parent-death signal hangs on it.
  static Result<BoundChild> start_program(int program, const char* name,
                                          std::span<const int> descriptors,
                                          const JailOptions& options);

  // For tests: forks; the child runs `body` and ends with its result as exit status, without the
  // parent's exit handlers. Descriptors 0, 1 and 2 are /dev/null in it (2 stays when
  // `keep_stderr`), all others are closed but `kept`. To be called while the process has one
  // thread, which must live as long as the child.
  static Result<BoundChild> start(const std::function<int()>& body, std::span<const int> kept,
                                  bool keep_stderr);

  // The same in a jail, with nothing as stderr.
  static Result<BoundChild> start_jailed(const JailedBody& body, std::span<const int> kept,
                                         const JailOptions& options);

  BoundChild(BoundChild&& other) noexcept;
  BoundChild& operator=(BoundChild&& other) noexcept;
  BoundChild(const BoundChild&) = delete;
  BoundChild& operator=(const BoundChild&) = delete;
  ~BoundChild();  // kills and reaps

  [[nodiscard]] pid_t pid() const { return pid_; }

  // Kills the child if it still runs, and reaps it. Its wait status, or nothing when someone else
  // reaped it. A second call gives the same.
  std::optional<int> kill_and_reap();

  // Kills without waiting. The exit status once the child is gone: a call after that reaps it.
  void start_killing() const;
  std::optional<int> reap_if_gone();

  // Gives the child this long to end by itself, then as kill_and_reap().
  std::optional<int> wait_or_kill(std::chrono::milliseconds timeout);

 private:
  explicit BoundChild(pid_t pid) : pid_(pid) {}
  explicit BoundChild(JailedProcess process)
      : pid_(process.pid),
        lifeline_(std::move(process.lifeline)),
        cgroup_(std::move(process.cgroup)) {}

  pid_t pid_ = -1;
  std::optional<int> status_;
  Fd lifeline_;
  Cgroup cgroup_;
};

// "exit status 3" or "signal 9 (Killed)".
std::string describe_wait_status(int status);

}  // namespace thimble

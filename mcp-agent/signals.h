// The signals that a user or a client sends to `thimble run`, as a descriptor to poll. While it
// lives they are blocked for the process; afterwards they are as they were.
#pragma once

#include <signal.h>

#include <optional>

#include "devices/fd.h"
#include "devices/result.h"

namespace thimble {

class SignalSource {
 public:
  // Takes over those that are passed on to a server: HUP INT QUIT TERM USR1 USR2 WINCH CONT.
  // SIGTSTP keeps its meaning. Makes SIGPIPE and SIGXFSZ ignored, for good: writes tell of a reader
  // that is gone and of a file that may not grow. To be called while the process has one thread.
  static Result<SignalSource> take_over();

  SignalSource(SignalSource&& other) noexcept;
  SignalSource& operator=(SignalSource&&) = delete;
  SignalSource(const SignalSource&) = delete;
  SignalSource& operator=(const SignalSource&) = delete;
  ~SignalSource();

  [[nodiscard]] int poll_fd() const { return fd_.get(); }

  // The next signal that came, or nothing. Never waits.
  std::optional<int> next();

 private:
  SignalSource(Fd fd, const sigset_t& before) : fd_(std::move(fd)), before_(before) {}

  Fd fd_;
  sigset_t before_{};
};

// Whether the signal asks a program to end: it ends `thimble` itself while no server runs.
bool is_ending_signal(int signal);

}  // namespace thimble

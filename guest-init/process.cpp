#include "guest-init/process.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

namespace thimble::init {

void Process::buffer_in(Buffers& buffers) {
  input_.buffer_in(buffers[0]);
  output_.buffer_in(buffers[1]);
  error_.buffer_in(buffers[2]);
}

bool Process::attach(int fd, uint32_t stream) {
  switch (stream) {
    case protocol::kStdin:
      if (input_.connected()) return false;
      input_.connect(fd);
      return true;
    case protocol::kStdout:
      if (output_.connected()) return false;
      output_.connect(fd);
      return true;
    case protocol::kStderr:
      if (error_.connected()) return false;
      error_.connect(fd);
      return true;
    default:
      return false;
  }
}

bool Process::streams_connected(uint32_t wanted) const {
  const uint32_t connected = (input_.connected() ? 1U << protocol::kStdin : 0) |
                             (output_.connected() ? 1U << protocol::kStdout : 0) |
                             (error_.connected() ? 1U << protocol::kStderr : 0);
  return (wanted & ~connected) == 0;
}

bool Process::start(Start& start, const ChildSettings& settings, Failure& failure) {
  ServerPipes pipes;
  if (!start_server(start, settings, child_, pipes, failure)) return false;
  input_.open(pipes.to_stdin);
  output_.open(pipes.from_stdout);
  if (pipes.from_stderr >= 0) error_.open(pipes.from_stderr);
  terminal_ = pipes.terminal;
  state_ = State::kRunning;
  return true;
}

void Process::add(PollSet& set) {
  input_.add(set);
  output_.add(set);
  error_.add(set);
}

bool Process::run(const PollSet& set) {
  const bool had_input = !input_.host_ended();
  bool moved = input_.run(set);
  // A grace begins with the end of the input, however long the server was idle before.
  if (had_input && input_.host_ended()) moved = true;
  moved = output_.run(set) || moved;
  // Who no longer looks at a terminal has left it.
  if (terminal_ >= 0 && !output_.connected()) input_.close_all();
  return error_.run(set) || moved;
}

// Its parent ends as it did. When somebody killed that, the process is init's own child by now,
// running or not, and is heard of by itself.
bool Process::on_child_ended(pid_t pid, int status) {
  const bool by_parent = pid == child_.parent;
  if (by_parent) child_.parent = -1;
  if (!by_parent && pid != child_.pid) return false;
  if (by_parent && child_.pid > 0 && kill(child_.pid, 0) == 0) return false;
  if (state_ != State::kRunning) return false;
  child_.pid = -1;
  exit_status_ = status;
  state_ = State::kDraining;
  input_.close_all();
  output_.finish();
  error_.finish();
  return true;
}

bool Process::end_is_due() const {
  if (state_ != State::kDraining) return false;
  return signalled_ || (output_.finished() && error_.finished());
}

int Process::tell_end() {
  state_ = State::kEnded;
  return exit_status_;
}

void Process::signal(int number) const {
  if (child_.pid > 0) kill(-child_.pid, number);
}

void Process::resize(const protocol::Window& window) const {
  if (terminal_ < 0) return;
  winsize size = {};
  size.ws_row = window.rows;
  size.ws_col = window.columns;
  ioctl(terminal_, TIOCSWINSZ, &size);
}

void Process::detach() {
  input_.detach();
  output_.detach();
  error_.detach();
}

void Process::forget() {
  if (terminal_ >= 0) close(terminal_);
  terminal_ = -1;
  input_.reset();
  output_.reset();
  error_.reset();
  child_ = {};
  signalled_ = false;
  state_ = State::kNone;
}

}  // namespace thimble::init

// The command of a session: a process in a session and a cgroup of its own, with pipes for its
// three streams.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "devices/fd.h"
#include "devices/result.h"
#include "tools/lab-box/command.h"

namespace thimble::lab {

class Process {
 public:
  // A command that cannot be started is no error here: it ends with 126 or 127, and `note` says
  // why.
  static Result<Process> start(const Command& command);

  Process(Process&&) = default;
  Process(const Process&) = delete;

  Fd standard_input;  // our ends of the pipes, non-blocking
  Fd standard_output;
  Fd standard_error;
  std::string note;

  // Readable when the process has ended.
  [[nodiscard]] int ended_fd() const { return pidfd_.get(); }
  // Only after ended_fd() is readable: 128+n for signal n.
  uint32_t status();
  // To the whole process group.
  void signal(int number) const;
  // Kills everything that the command has started, daemons too.
  void kill_all() const;
  // Removes the cgroup if nobody lives in it any more.
  void leave() const;

 private:
  Process() = default;

  pid_t pid_ = -1;
  Fd pidfd_;
  std::string cgroup_;
};

}  // namespace thimble::lab

// Starts the server, or a process beside it: a parent that is not process 1, own session and
// process group, own cgroup, its pipes or a terminal as stdio, limits, user, working directory, and
// the command found through its own PATH.
#pragma once

#include <sys/types.h>

#include "guest-init/codec.h"

namespace thimble::init {

// What differs between a guest and a test on the host.
struct ChildSettings {
  const char* passwd_path = "/etc/passwd";
  const char* group_path = "/etc/group";
  const char* cgroup_procs = nullptr;   // the child enters this cgroup; null = none
  const char* oom_score_adj = nullptr;  // the child undoes init's protection; null = not needed
};

// Init's ends of the server's pipes, non-blocking; the caller owns them. With a terminal they are
// its master's, which hangs up when the last of them is closed.
struct ServerPipes {
  int to_stdin = -1;
  int from_stdout = -1;
  int from_stderr = -1;  // with a terminal: none
  int terminal = -1;     // without: none
};

// Both are children of init in the end: the server when its parent was killed.
struct ServerProcess {
  pid_t pid = -1;     // the server's own, and of its process group
  pid_t parent = -1;  // ends when the server has ended, and as it did
};

// Returns once the server's program runs (or could not be started, with nothing left open).
// The child starts with default signal dispositions, an empty mask and umask 022.
// `start` is changed in these processes only.
[[nodiscard]] bool start_server(Start& start, const ChildSettings& settings, ServerProcess& server,
                                ServerPipes& pipes, Failure& failure);

// Reaps one child that ended; false when there is none.
[[nodiscard]] bool reap(pid_t& pid, int& status);

}  // namespace thimble::init

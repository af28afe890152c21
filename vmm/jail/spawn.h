// Starts a program as a child, as posix_spawn() does: nothing of the caller's memory is copied, so
// that it may have threads and secrets. The child has the program's own memory, one argument, no
// environment, and a memory layout and stack canary of its own.
//
// The thread that calls stands still until the program is in the child's place (vfork(2)), with all
// signals blocked; the program starts with them blocked. It is killed when that thread ends.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>

namespace thimble {

struct Program {
  int file = -1;                     // the executable, open
  const char* name = "";             // argv[0], and nothing follows
  std::span<const int> descriptors;  // in the program: 3, 4, …, in this order; at most kMaxPlaced
};

struct Spawned {
  pid_t pid = -1;
  int error = 0;                 // errno, when there is no process
  bool program_refused = false;  // it could be made, but not execute the program
};

// `flags`: CLONE_NEW… of clone(2). `cgroup`: the directory of the one to be in, or -1. Over the
// exec the child keeps the capabilities that entering the jail takes (jail.h), if it has them.
// Without a program, the child ends at once.
Spawned spawn(const Program* program, uint64_t flags, int cgroup);

}  // namespace thimble

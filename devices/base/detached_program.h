// Starts a program that outlives this process: nobody's child, in a session of its own without a
// terminal, with no descriptor but those it is given. A client that waits for the end of our pipes
// must not wait for it.
//
//   caller ──clone──► between ──clone──► the program
//   waits             leads the session, ends at once: the program is nobody's child, and,
//                     since it leads no session, can never get a terminal
//
// Nothing of the caller's memory is copied (as by vfork(2)), so that it may have threads and
// secrets. Neither process signals the caller, nor can a waitpid(-1) of its take them.
#pragma once

#include <string>
#include <vector>

#include "devices/result.h"

namespace thimble {

struct DetachedProgram {
  std::string file = "/proc/self/exe";
  std::vector<std::string> arguments;  // from argv[0] on
  // "K=V" each; all that it has. environment_of_this_process() for a copy.
  std::vector<std::string> environment;
  int error_output = -1;    // its stderr; -1: /dev/null, as stdin and stdout are
  std::vector<int> passed;  // in the program: 3, 4, …, in this order; at most kMaxPlaced less three
  bool in_root = false;     // in "/", and not where the caller is
};

// Returns when the program is in its process's place. Signals are unblocked in it and have their
// default actions. The caller keeps its descriptors. From any thread.
Result<void> start_detached(const DetachedProgram& program);

std::vector<std::string> environment_of_this_process();

}  // namespace thimble

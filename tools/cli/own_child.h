// A child that is `thimble ARGUMENTS…` itself, and ends when this process does.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <vector>

#include "devices/fd.h"
#include "devices/result.h"
#include "tools/cli/options.h"

namespace thimble::cli {

struct OwnChild {
  pid_t pid = -1;  // to be waited for by whoever has this
  Fd input;        // our ends of its standard descriptors
  Fd output;
  Fd errors;
};

struct OwnChildOrder {
  Arguments arguments;
  std::vector<int> passed = {};  // are its descriptors from 3 on
  bool in_root = false;          // in "/": names of the host mean nothing to it
  int signal_at_end = SIGKILL;   // what it gets when this process ends
};

// To be called while the process has one thread, which must live as long as the child.
Result<OwnChild> start_own_child(OwnChildOrder order);

}  // namespace thimble::cli

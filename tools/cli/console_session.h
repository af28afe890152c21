// A VM in the foreground: its serial console on the terminal until it ends.
#pragma once

#include <string>

#include "devices/result.h"
#include "pool/vm/vm_process.h"

namespace thimble::cli {

struct ConsoleOptions {
  std::string save_socket;  // its path (save_socket.h), or empty
  bool verbose = false;
};

struct ConsoleOutcome {
  int status = 0;
  std::string message;  // one line for the user, or empty
};

// Starts the VM and carries its console until it ends, the user ends it (Ctrl-A x) or a signal asks
// for the end. To be called while the process has one thread.
Result<ConsoleOutcome> run_console(VmSpec spec, const ConsoleOptions& options);

// Says the message, if there is one; the exit status.
int report(const Result<ConsoleOutcome>& outcome);

}  // namespace thimble::cli

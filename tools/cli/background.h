// Processes of ours that outlive this one.
#pragma once

#include "devices/result.h"
#include "tools/cli/options.h"

namespace thimble::cli {

// Starts `thimble ARGUMENTS…` in a session of its own, with nothing as stdin, stdout and stderr and
// no other descriptor of this process: a client that waits for the end of our pipes must not wait
// for it. It is nobody's child.
Result<void> start_in_background(const Arguments& arguments);

}  // namespace thimble::cli

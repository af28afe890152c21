// The end of what a subcommand prints. Much of it still waits in a buffer when the subcommand is
// done, so that a full disk shows only then.
#pragma once

namespace thimble::cli {

// Writes out and closes stdout. The exit status: `status`, or a failure of its own, which is said,
// instead of success. A reader that has left is no failure.
int close_stdout(int status);

}  // namespace thimble::cli

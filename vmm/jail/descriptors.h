// What a VMM process inherits from the one that started it: the descriptors that are named, and
// nothing else.
#pragma once

#include <span>

namespace thimble {

// 0, 1 and 2 become /dev/null (2 stays when `keep_stderr`); all others are closed but `kept`.
void keep_only_descriptors(std::span<const int> kept, bool keep_stderr);

// Default actions for all signals but SIGPIPE (ignored), none blocked; a session of its own, which
// the terminal's signals do not reach.
void leave_terminal_and_signals();

}  // namespace thimble

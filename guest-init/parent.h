// The server's parent: a process that waits for the server and then ends as the server did. It is
// there because init is process 1, and to be a child of process 1 means to a program that its
// parent has died: watchdogs of servers end them within a second then.
#pragma once

#include <sys/types.h>

namespace thimble::init {

// In a process of its own, all of whose descriptors it closes: never returns. Signals, but for
// SIGKILL, do not end it.
[[noreturn]] void end_as(pid_t server);

// Blocks every signal in the calling process.
void block_all_signals();

}  // namespace thimble::init

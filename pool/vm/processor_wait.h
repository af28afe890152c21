// How long the threads of a process were ready to run and waited for a processor, as the kernel
// counts it: on a busy machine, time that passed without the process having had it.
#pragma once

#include <sys/types.h>

#include <chrono>

namespace thimble {

// Of the thread that waited longest since it was started. Zero where the kernel does not say.
std::chrono::milliseconds processor_wait(pid_t process);

}  // namespace thimble

// When a VM's guest came out for the first time. The program is linked with --wrap=ioctl: the time
// is taken where KVM_RUN returns, and nothing in the library knows of it.
#pragma once

#include <chrono>

namespace thimble::bench {

using Clock = std::chrono::steady_clock;

// The next exit, of whichever vCPU, is the one.
void expect_exit();
// When it was; the epoch when there was none yet.
Clock::time_point first_exit();

}  // namespace thimble::bench

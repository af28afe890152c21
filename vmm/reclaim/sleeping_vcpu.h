// Whether a vCPU that was stopped has nothing to do, and for how long.
#pragma once

#include <chrono>

#include "devices/result.h"

namespace thimble {

struct VcpuSleep {
  // Until the timer of its local APIC goes off; the longest there is: no timer is set.
  std::chrono::nanoseconds left = std::chrono::nanoseconds::max();
  const char* awake = nullptr;  // why it does not sleep
};

// `vcpu` is the descriptor of one that is not running.
Result<VcpuSleep> sleep_of(int vcpu);

}  // namespace thimble

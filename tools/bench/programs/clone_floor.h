// The floor under a clone: nothing but the system calls without which no KVM clone with a split
// irqchip can be, one after another on one thread. No devices, no event loop, no checks.
#pragma once

#include <cstdint>

#include "thimble/snapshot.h"

namespace thimble::bench {

struct FloorTimes {
  double first_exit_us = 0;  // from before KVM_CREATE_VM
  double destroyed_us = 0;   // until everything is closed and unmapped again
};

// `kvm`: /dev/kvm, open. The snapshot has one vCPU. A failure ends the program.
FloorTimes measure_floor(int kvm, const Snapshot& snapshot);

}  // namespace thimble::bench

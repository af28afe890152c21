// The program of a VM process: small, since every VM executes it, and inside whatever starts VMs,
// so that it is never missing nor of another version. What it does is in vm_main.h.
#pragma once

#include "devices/result.h"

namespace thimble {

// The program as an open file that can be executed: without a name, and unchangeable. It is made at
// the first call and stays open until the process ends, for all VMs alike, so that they share its
// pages. From any thread.
Result<int> vmm_program();

}  // namespace thimble

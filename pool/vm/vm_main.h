// What runs inside the VMM process of one VM.
#pragma once

#include "pool/vm/vm_process.h"

namespace thimble {

// The whole life of the process; the result is its exit status: 0 when the guest switched itself
// off or was stopped.
int run_vm_process(VmSpec spec, Fd broker, Confinement confinement);

}  // namespace thimble

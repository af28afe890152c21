// What runs inside the VMM process of one VM: makes the machine, serves the broker, reports the
// end.
#pragma once

#include "pool/vm/console_tail.h"
#include "pool/vm/vm_process.h"

namespace thimble {

// The whole life of the process; the result is its exit status: 0 when the guest switched itself
// off or was stopped.
int run_vm_process(VmSpec spec, Fd broker, Confinement confinement);

// One line for a person about a machine that ended with `end`, given what its console showed.
std::string explain_end(const End& end, const ConsoleTail& tail);

}  // namespace thimble

// The trace of a VM process: a line for each event to a file that the parent opened, and a summary
// at the end.
#pragma once

#include "pool/vm/vm_spec.h"
#include "thimble/trace.h"

namespace thimble {

// Lets the machine of `spec` write its trace, if one is wanted. `summary` outlives the machine.
void join_trace(VmSpec& spec, TraceSummary& summary);

// What the whole run came to.
void finish_trace(const VmSpec& spec, const TraceSummary& summary, Machine& machine);

}  // namespace thimble

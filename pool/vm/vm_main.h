// What runs inside the VMM process of one VM.
#pragma once

#include "devices/fd.h"
#include "pool/vm/vm_spec.h"
#include "vmm/jail/confinement.h"

namespace thimble {

// How VmProcess::start() executes it: its name, which is its only argument, and its descriptors.
constexpr const char* kVmmName = "thimble-vmm";
constexpr int kVmmLifeline = 3;
constexpr int kVmmChannel = 4;

// What VmProcess::start() has executed: enters the jail and runs what it is told. `lifeline` is the
// jail's (vmm/jail/jail.h), and from `channel` comes the spec (spec_message.h).
int vmm_main(Fd lifeline, Fd channel);

// The whole life of the process; the result is its exit status: 0 when the guest switched itself
// off or was stopped.
int run_vm_process(VmSpec spec, Fd channel, Confinement confinement);

}  // namespace thimble

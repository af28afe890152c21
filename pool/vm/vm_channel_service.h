// What a VM process does for its parent, at the other end of the VM channel: a warm VM waits for
// its claim; a guest that runs gets its streams, is saved and looked at, and its memory reclaimed.
#pragma once

#include <optional>
#include <string>

#include "pool/vm/reclaim_plan.h"
#include "thimble/machine.h"
#include "thimble/snapshot.h"

namespace thimble {

// Until the VM channel's other end is gone, which ends the machine. With a plan, the memory of a
// clone that nobody needs is reclaimed meanwhile.
void serve_vm_channel(Machine& machine, int channel, std::optional<ReclaimPlan> plan);

struct WarmVmEnd {
  bool claimed = false;  // it took over its template, and the guest may run
  bool report_console = false;
  std::string refused;  // why not; empty when the parent is gone
};
// A warm VM's wait, on the thread that is to be the event loop's. Messages that nobody should send
// now end it.
WarmVmEnd wait_for_claim(Machine& machine, const Snapshot& snapshot, int channel);

}  // namespace thimble

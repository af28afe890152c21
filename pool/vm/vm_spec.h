// What a VM process is to run: given to VmProcess::start(), which sends it to the process
// (spec_message.h).
#pragma once

#include <chrono>
#include <optional>

#include "devices/fd.h"
#include "thimble/machine.h"

namespace thimble {

// The two files of a snapshot (thimble/snapshot.h).
struct SnapshotFiles {
  Fd state;
  Fd memory;
  Fd working_set = {};  // MachineOptions::working_set; or none
};

struct VmSpec {
  // Its callbacks, guest_connect_ports and page_map belong to the VM process: what is given here
  // does not reach it.
  MachineOptions machine;
  // Restores this instead of booting a kernel. Its memory has been verified (Snapshot::open()), and
  // memory_bytes and vcpus above are the snapshot's.
  std::optional<SnapshotFiles> snapshot;
  // With a snapshot: a warm VM. Everything is made, checked and confined that can be before the
  // guest's state is taken over; kPrepared tells when, and claim() does the rest.
  bool warm = false;
  // With a snapshot: its memory is reclaimed (Machine::reclaim()) when its guest has had nothing to
  // do for about so long.
  std::optional<std::chrono::milliseconds> reclaim_after;
  // A connected stream that carries the serial console both ways, or none.
  Fd console;
  // Where every exit, notification and interrupt is written, a line for each and tables at the end;
  // or none.
  Fd trace;
  // Reports every line of the serial console as an event, not only the last ones at the end.
  bool report_console = false;
  // Refuses the VM when the host refuses a layer of the jail; otherwise kExposed tells about it.
  bool require_confinement = false;
};

}  // namespace thimble

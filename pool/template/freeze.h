// Brings a VM that was just started to the point where a snapshot of it makes a template: booted,
// configured, its server started and settled, and frozen (docs/identity.md). Or frozen before its
// server is executed, for servers whose memory must not be shared by clones.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

#include "devices/result.h"
#include "pool/guest/guest_control.h"
#include "pool/vm/processor_wait.h"
#include "pool/vm/vm_process.h"

namespace thimble {

struct FreezeRequest {
  GuestIdentity identity;  // with the mounts, which clones keep
  ServerSpec server;
  enum class Point {
    kReady,       // the server has come up and awaits its client
    kBeforeExec,  // the guest is up; each clone starts the server itself
  };
  Point point = Point::kReady;
  // From the start of the VM to the start of the server, and from there until it has settled. Time
  // in which the VM waited for a processor does not count, up to ten times the latter.
  std::chrono::milliseconds boot_limit{std::chrono::minutes(2)};
  std::chrono::milliseconds ready_limit{std::chrono::minutes(1)};
  // How long the VM has waited for a processor up to now.
  std::function<std::chrono::milliseconds(pid_t)> processor_wait = thimble::processor_wait;
  // What the server writes to stderr meanwhile, and one line for each notice of the VM's. What it
  // writes to stdout is kept in the guest and goes to each clone's client.
  std::function<void(std::string_view)> on_stderr;
  std::function<void(std::string_view)> on_notice;
};

struct FrozenGuest {
  // A process whose random numbers would be the same in all clones (guest-init/runtime.h), as
  // "process 45 (/bin/rnd)": all that runs in the guest decides, whatever its image is. Empty
  // without one, and before exec.
  std::string unreseeded;
};

// Waits until the guest says that it is frozen. After an error the VM is of no further use: kill
// it.
Result<FrozenGuest> freeze_guest(VmProcess& vm, const FreezeRequest& request);

}  // namespace thimble

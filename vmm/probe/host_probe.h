// What this host's KVM can do, found out by running a probing guest and not by names: a software
// KVM has the same device and ioctls, but cannot run Linux.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "devices/result.h"
#include "vmm/kvm.h"
#include "vmm/probe/payload_run.h"

namespace thimble {

struct ProbeOptions {
  const char* device = "/dev/kvm";  // another one for tests
  std::chrono::milliseconds limit{
      2000};                  // after this the probing guest is ended and tried once more
  bool only_syscall = false;  // the one step that decides, for a quick answer
};

struct HostProbe {
  enum class Nature : uint8_t {
    kUnknown,   // no guest ran
    kSoftware,  // it cannot do what every processor does, or interprets guest code
    kHardware,  // it behaves as a processor with virtualization does (nested or not)
  };

  bool device_exists = false;
  bool may_open = false;
  std::string open_error;   // why not, with the next step; also a KVM that lacks what we stand on
  std::string setup_error;  // KVM opened, but no guest could be made

  std::vector<probe::StepResult> steps;  // in the order of probe::Step; empty when none was tried
  double instructions_per_second = 0;    // 0: not measured
  std::chrono::microseconds took{0};

  Nature nature = Nature::kUnknown;
  bool can_run_linux = false;
  std::string reason;    // one line, why it can or cannot
  bool certain = false;  // false when the answer may be another next time (a time limit, no memory)
};

// Runs the guest in a child process, so that it can neither hang the caller nor leave anything.
// Takes a few milliseconds on hardware and never longer than twice `limit` and a bit. From any
// thread.
HostProbe probe_host(const ProbeOptions& options = {});

// "KVM cannot execute it": what a step's result means, in words.
std::string in_words(const probe::StepResult& result);

// What making and ending an empty VM with our interrupt set-up costs on this host, the middle of a
// few attempts. Milliseconds here are grace periods of the host's kernel.
struct CreationCost {
  std::chrono::microseconds create{0};   // KVM_CREATE_VM
  std::chrono::microseconds irqchip{0};  // a memory slot, then the split irqchip
  std::chrono::microseconds destroy{0};  // closing it
};
Result<CreationCost> measure_creation(const Kvm& kvm);

}  // namespace thimble

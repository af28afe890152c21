// The system call filters of a VMM process: built once, put on by each of its threads before the
// guest's first instruction. What happens at a forbidden call: the thread reports it to the VM
// channel from a signal handler, and the process ends.
#pragma once

#include <optional>

#include "devices/result.h"
#include "thimble/machine.h"
#include "vmm/jail/filter.h"

namespace thimble {

class ThreadFilters {
 public:
  // Reports go to `channel`. An error when the host has no such filters.
  // `warm`: the event loop's thread will wait for a claim first.
  static Result<ThreadFilters> build(int channel, bool warm = false);

  // On the calling thread, for good.
  [[nodiscard]] Result<void> confine(FilteredThread thread) const;
  [[nodiscard]] Result<void> confine(ThreadKind thread) const;

 private:
  explicit ThreadFilters(int channel) : channel_(channel) {}

  int channel_;
  std::optional<Filter> vcpu_;
  std::optional<Filter> loop_;
  std::optional<Filter> messenger_;
  std::optional<Filter> warm_vm_;
};

// "a vCPU thread made the system call socket (41), which it may not": `value` is that of a VM
// channel message of type kViolation.
std::string describe_violation(uint32_t value);

}  // namespace thimble

// Runs the steps of the probing guest in a VM of their own and says how each went.
#pragma once

#include <array>
#include <cstdint>
#include <functional>

#include "devices/result.h"
#include "vmm/kvm.h"
#include "vmm/probe/payload.h"

namespace thimble::probe {

enum class Outcome : uint8_t {
  kNotTried,   // an earlier step did not come back, or only part was asked for
  kNotNeeded,  // KVM does not offer the instruction to guests: Linux will not use it
  kHolds,
  kWrong,      // the instruction ran and did something else; detail: what it wrote to kDonePort
  kException,  // detail: the exception's number
  kTripleFault,
  kNotEmulated,  // KVM_EXIT_INTERNAL_ERROR; detail: its suberror
  kOtherExit,    // detail: the exit reason, or the errno of KVM_RUN with bit 31
  kStuck,        // did not come back in time; never said by run_steps() itself
};

struct StepResult {
  Step step = Step::kEnter;
  Outcome outcome = Outcome::kNotTried;
  uint32_t detail = 0;
  double instructions_per_second = 0;  // of kSpeed
};

// Runs `steps` one after another and reports each when it is done. May hang as long as KVM does:
// the caller bounds it from outside. The error is one of setting the VM up.
Result<void> run_steps(const Kvm& kvm, std::span<const Step> steps,
                       const std::function<void(const StepResult&)>& report);

}  // namespace thimble::probe

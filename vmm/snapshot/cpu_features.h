// Whether this host's CPU has what a snapshot's guest was told that it has. A guest never looks
// again: its programs would run into an instruction that is not there.
#pragma once

#include <span>
#include <string>

#include "devices/result.h"
#include "vmm/linux_kvm.h"

namespace thimble {

// `saved`: the CPUID table of a saved vCPU. `host`: KVM_GET_SUPPORTED_CPUID of this host;
// `tsc_deadline`: KVM_CAP_TSC_DEADLINE_TIMER, which is not in that table. The error names the first
// feature that lacks.
Result<void> check_cpu_features(std::span<const kvm_cpuid_entry2> saved,
                                std::span<const kvm_cpuid_entry2> host, bool tsc_deadline);

// The vendor's 12 letters.
std::string cpu_vendor(std::span<const kvm_cpuid_entry2> table);

}  // namespace thimble

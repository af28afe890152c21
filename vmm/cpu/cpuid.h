// What CPUID shows the guest: what KVM supports on this host, with the topology of this machine.
#pragma once

#include "devices/result.h"
#include "vmm/flexible.h"
#include "vmm/kvm.h"

namespace thimble {

using CpuidTable = Flexible<kvm_cpuid2, kvm_cpuid_entry2>;

// KVM_GET_SUPPORTED_CPUID.
Result<CpuidTable> supported_cpuid(const Kvm& kvm);

// Fills in what differs per CPU and machine: APIC id, number of CPUs, hypervisor and TSC deadline
// bits; takes away KVM's asynchronous page faults (Intel SDM 2A, CPUID; AMD APM 3, appendix E).
void adjust_cpuid(CpuidTable& table, unsigned apic_id, unsigned vcpus, bool tsc_deadline);

}  // namespace thimble

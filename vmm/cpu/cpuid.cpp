// See cpuid.h.
#include "vmm/cpu/cpuid.h"

#include <asm/kvm_para.h>

#include <bit>

namespace thimble {

namespace {

constexpr size_t kMaxEntries = 256;
constexpr uint32_t kHypervisor = 1U << 31;      // leaf 1 ECX
constexpr uint32_t kTscDeadline = 1U << 24;     // leaf 1 ECX
constexpr uint32_t kHyperThreading = 1U << 28;  // leaf 1 EDX: EBX[23:16] is valid
// KVM tells the guest of a page that the host has yet to fetch, and later that it is there; the
// guest lets the waiting program sleep in between. A snapshot taken in between has lost the second
// message, and the program sleeps for ever. Without them a vCPU just waits for its page.
constexpr uint32_t kAsyncPageFaults =
    1U << KVM_FEATURE_ASYNC_PF | 1U << KVM_FEATURE_ASYNC_PF_VMEXIT | 1U << KVM_FEATURE_ASYNC_PF_INT;
constexpr uint32_t kTopologyThread = 1U << 8;
constexpr uint32_t kTopologyCore = 2U << 8;

// One thread per core, all cores in one package.
void describe_topology(kvm_cpuid_entry2& entry, unsigned apic_id, unsigned vcpus) {
  const auto id_bits = static_cast<uint32_t>(std::bit_width(vcpus - 1));
  entry.edx = apic_id;
  entry.eax = entry.index == 0 ? 0 : id_bits;
  entry.ebx = entry.index == 0 ? 1 : vcpus;
  entry.ecx = entry.index | (entry.index == 0 ? kTopologyThread : kTopologyCore);
  if (entry.index > 1) {
    entry.eax = entry.ebx = 0;
    entry.ecx = entry.index;
  }
}

}  // namespace

Result<CpuidTable> supported_cpuid(const Kvm& kvm) {
  CpuidTable table(kMaxEntries);
  table.header()->nent = kMaxEntries;
  auto done =
      kvm_ioctl(kvm.fd(), KVM_GET_SUPPORTED_CPUID, "KVM_GET_SUPPORTED_CPUID", table.header());
  if (!done) return std::unexpected(done.error());
  return table;
}

void adjust_cpuid(CpuidTable& table, unsigned apic_id, unsigned vcpus, bool tsc_deadline) {
  for (uint32_t i = 0; i < table.header()->nent; ++i) {
    kvm_cpuid_entry2& entry = table.entries()[i];
    switch (entry.function) {
      case 0x1:
        entry.ebx = (entry.ebx & 0x0000ffff) | (vcpus << 16) | (apic_id << 24);
        entry.ecx |= kHypervisor;
        if (tsc_deadline) entry.ecx |= kTscDeadline;
        entry.edx = vcpus > 1 ? entry.edx | kHyperThreading : entry.edx & ~kHyperThreading;
        break;
      case 0x4:  // cores per package in EAX[31:26]
        if ((entry.eax & 0x1f) != 0) {
          entry.eax = (entry.eax & 0x03ffffff) | ((vcpus - 1) << 26);
        }
        break;
      case 0xb:
      case 0x1f:
        describe_topology(entry, apic_id, vcpus);
        break;
      case KVM_CPUID_FEATURES:
        entry.eax &= ~kAsyncPageFaults;
        break;
      case 0x80000008:  // AMD: number of CPUs and bits of APIC id
        entry.ecx = (entry.ecx & 0xffff0000) |
                    (static_cast<uint32_t>(std::bit_width(vcpus - 1)) << 12) | (vcpus - 1);
        break;
      case 0x8000001e:  // AMD: APIC id, core id, one node
        entry.eax = apic_id;
        entry.ebx = apic_id;
        entry.ecx = 0;
        break;
      default:
        break;
    }
  }
}

}  // namespace thimble

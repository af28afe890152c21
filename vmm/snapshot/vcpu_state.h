// The state of one vCPU: all that KVM keeps of it, as KVM's own structures, and the order in which
// it is read and set. vcpu_state.cpp gives the reason for each place in that order.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "devices/result.h"
#include "devices/state.h"
#include "vmm/kvm.h"

namespace thimble {

struct VcpuState {
  static constexpr size_t kMaxCpuid = 256;            // entries
  static constexpr size_t kMaxMsrs = 4096;            // entries
  static constexpr size_t kMaxXsave = 64UL * 1024;    // bytes
  static constexpr size_t kMaxNested = 256UL * 1024;  // bytes

  uint32_t tsc_khz = 0;
  kvm_mp_state mp_state{};
  kvm_vcpu_events events{};
  kvm_regs regs{};
  kvm_sregs sregs{};
  kvm_debugregs debug{};
  kvm_xcrs xcrs{};
  kvm_lapic_state lapic{};
  std::vector<uint8_t> cpuid;   // kvm_cpuid_entry2, as it was set
  std::vector<uint8_t> xsave;   // kvm_xsave, with as many bytes as this CPU needs
  std::vector<uint8_t> msrs;    // kvm_msr_entry, in KVM's own order
  std::vector<uint8_t> nested;  // kvm_nested_state, when the guest is a hypervisor itself

  void describe(StateVisitor& visitor);
  // Sizes that fit together. What the values mean is for KVM to judge.
  [[nodiscard]] Result<void> valid() const;

  [[nodiscard]] std::span<const kvm_cpuid_entry2> cpuid_entries() const;
  [[nodiscard]] std::span<const kvm_msr_entry> msr_entries() const;
  // Value of an MSR, if it was saved.
  [[nodiscard]] std::optional<uint64_t> msr(uint32_t index) const;
  // Their time stamp counters went together.
  [[nodiscard]] bool shares_tsc(const VcpuState& other) const;
  // The guest reads KVM's clock on this vCPU.
  [[nodiscard]] bool uses_clock() const;
};

// What of a vCPU's state this host's KVM has: asked once, for all machines.
struct VcpuAbi {
  size_t xsave_bytes = 0;
  size_t nested_bytes = 0;  // 0: guests cannot be hypervisors
  bool tsc_scaling = false;
  std::vector<uint32_t> msrs;  // KVM_GET_MSR_INDEX_LIST

  static Result<VcpuAbi> of(const Kvm& kvm);
};

// Reads the state of a vCPU that is out of the guest with its last exit finished
// (Vcpu::finish_exit()). `cpuid` is the table that it was given.
Result<VcpuState> capture_vcpu(int fd, const VcpuAbi& abi, std::span<const kvm_cpuid_entry2> cpuid);

// A vCPU that has never run.
struct FreshVcpu {
  int fd = -1;
  bool boots = true;       // the one that starts the machine, the others wait for its message
  bool has_cpuid = false;  // it has the CPUID of the state that is to be set
  uint32_t tsc_khz = 0;    // its time stamp counter
  // The distance between its counter and the host's, where another vCPU's is to be taken.
  std::optional<uint64_t> tsc_offset = std::nullopt;
};

// Nothing where the host's KVM cannot say (before Linux 5.16).
std::optional<uint64_t> tsc_offset_of(int fd);
Result<void> set_tsc_offset(int fd, uint64_t offset);

// Sets the state of such a vCPU. Guest memory must be there, since some MSRs point into it. After
// an error the vCPU is in between and of no use.
Result<void> restore_vcpu(const FreshVcpu& vcpu, const VcpuAbi& abi, const VcpuState& state);

}  // namespace thimble

// See sleeping_vcpu.h. Register numbers and bits: Intel SDM volume 3A, 11.4.1 (map of the local
// APIC) and 11.5.4 (its timer).
#include "vmm/reclaim/sleeping_vcpu.h"

#include <algorithm>
#include <cstring>

#include "vmm/flexible.h"
#include "vmm/kvm.h"
#include "vmm/linux_kvm.h"

namespace thimble {

namespace {

constexpr uint32_t kMsrTsc = 0x10;
constexpr uint32_t kMsrTscDeadline = 0x6e0;

constexpr size_t kRequested = 0x200;  // IRR: 256 bits, 32 in each register, 16 bytes apart
constexpr size_t kRequestRegisters = 8;
constexpr size_t kRegisterStep = 0x10;
constexpr size_t kTimer = 0x320;
constexpr size_t kInitialCount = 0x380;
constexpr uint32_t kTimerMasked = 1U << 16;
constexpr uint32_t kTimerMode = 3U << 17;
constexpr uint32_t kDeadlineMode = 2U << 17;

constexpr uint64_t kNsPerMs = 1'000'000;

uint32_t register_at(const kvm_lapic_state& apic, size_t offset) {
  uint32_t value = 0;
  std::memcpy(&value, apic.regs + offset, sizeof value);
  return value;
}

Result<bool> has_stopped(int vcpu) {
  kvm_mp_state state{};
  auto got = kvm_ioctl(vcpu, KVM_GET_MP_STATE, "KVM_GET_MP_STATE", &state);
  if (!got) return std::unexpected(got.error());
  // The last two wait for the first vCPU's start-up message.
  return state.mp_state == KVM_MP_STATE_HALTED || state.mp_state == KVM_MP_STATE_UNINITIALIZED ||
         state.mp_state == KVM_MP_STATE_INIT_RECEIVED;
}

Result<bool> has_event(int vcpu) {
  kvm_vcpu_events events{};
  auto got = kvm_ioctl(vcpu, KVM_GET_VCPU_EVENTS, "KVM_GET_VCPU_EVENTS", &events);
  if (!got) return std::unexpected(got.error());
  return events.exception.injected != 0 || events.exception.pending != 0 ||
         events.interrupt.injected != 0 || events.nmi.injected != 0 || events.nmi.pending != 0 ||
         events.smi.pending != 0;
}

bool has_request(const kvm_lapic_state& apic) {
  for (size_t i = 0; i < kRequestRegisters; ++i) {
    if (register_at(apic, kRequested + i * kRegisterStep) != 0) return true;
  }
  return false;
}

// Time stamps of the guest and their frequency.
Result<VcpuSleep> until_deadline(int vcpu) {
  Flexible<kvm_msrs, kvm_msr_entry> msrs(2);
  msrs.header()->nmsrs = 2;
  msrs.entries()[0].index = kMsrTsc;
  msrs.entries()[1].index = kMsrTscDeadline;
  auto got = kvm_ioctl(vcpu, KVM_GET_MSRS, "KVM_GET_MSRS (timer)", msrs.header());
  if (!got) return std::unexpected(got.error());
  if (*got != 2) return VcpuSleep{.awake = "KVM does not tell when its timer is due"};
  const uint64_t now = msrs.entries()[0].data;
  const uint64_t deadline = msrs.entries()[1].data;
  if (deadline == 0) return VcpuSleep{};
  if (deadline <= now) return VcpuSleep{.awake = "its timer is due"};
  auto khz = kvm_ioctl(vcpu, KVM_GET_TSC_KHZ, "KVM_GET_TSC_KHZ", 0);
  if (!khz) return std::unexpected(khz.error());
  const uint64_t ms = (deadline - now) / std::max<uint64_t>(static_cast<uint64_t>(*khz), 1);
  // Centuries from now: there is no such timer.
  if (ms > static_cast<uint64_t>(std::chrono::nanoseconds::max().count()) / kNsPerMs) {
    return VcpuSleep{};
  }
  return VcpuSleep{.left = std::chrono::milliseconds(ms)};
}

}  // namespace

Result<VcpuSleep> sleep_of(int vcpu) {
  auto stopped = has_stopped(vcpu);
  if (!stopped) return std::unexpected(stopped.error());
  if (!*stopped) return VcpuSleep{.awake = "it computes"};
  auto event = has_event(vcpu);
  if (!event) return std::unexpected(event.error());
  if (*event) return VcpuSleep{.awake = "it has an exception or interrupt to take"};
  kvm_lapic_state apic{};
  auto got = kvm_ioctl(vcpu, KVM_GET_LAPIC, "KVM_GET_LAPIC", &apic);
  if (!got) return std::unexpected(got.error());
  if (has_request(apic)) return VcpuSleep{.awake = "an interrupt waits for it"};
  const uint32_t timer = register_at(apic, kTimer);
  if ((timer & kTimerMasked) != 0) return VcpuSleep{};
  if ((timer & kTimerMode) == kDeadlineMode) return until_deadline(vcpu);
  if (register_at(apic, kInitialCount) != 0) return VcpuSleep{.awake = "its timer counts"};
  return VcpuSleep{};
}

}  // namespace thimble

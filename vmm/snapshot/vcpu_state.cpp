// Reading and setting a vCPU in the order that KVM needs; see vcpu_state.h. The ioctls are those of
// Documentation/virt/kvm/api.rst.
#include "vmm/snapshot/vcpu_state.h"

#include <asm/kvm_para.h>

#include <algorithm>
#include <cstring>
#include <functional>

#include "devices/text.h"
#include "vmm/flexible.h"

namespace thimble {

namespace {

using MsrList = Flexible<kvm_msr_list, uint32_t>;
using Msrs = Flexible<kvm_msrs, kvm_msr_entry>;

constexpr uint32_t kMsrTsc = 0x10;
constexpr uint32_t kMsrTscAdjust = 0x3b;
constexpr uint32_t kMsrTscDeadline = 0x6e0;
constexpr size_t kMsrsPerCall = 200;  // the kernel takes fewer than 256

constexpr uint64_t kEferSvme = 1U << 12;
constexpr uint64_t kCr4Vmxe = 1U << 13;

// Clocks closer than this to each other count as the same: 250 parts in a million, what NTP can
// correct and other VMMs accept.
constexpr uint64_t kTscTolerance = 250;

template <class T>
std::span<const T> entries_of(const std::vector<uint8_t>& bytes) {
  return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
}

template <class T>
std::vector<uint8_t> bytes_of(std::span<const T> entries) {
  const auto* first = reinterpret_cast<const uint8_t*>(entries.data());
  return {first, first + entries.size_bytes()};
}

// ---- MSRs

Result<size_t> transfer_msrs(int fd, bool set, std::span<kvm_msr_entry> entries) {
  Msrs msrs(entries.size());
  msrs.header()->nmsrs = static_cast<uint32_t>(entries.size());
  std::ranges::copy(entries, msrs.entries());
  auto done = set ? kvm_ioctl(fd, KVM_SET_MSRS, "KVM_SET_MSRS", msrs.header())
                  : kvm_ioctl(fd, KVM_GET_MSRS, "KVM_GET_MSRS", msrs.header());
  if (!done) return std::unexpected(done.error());
  if (!set) std::copy_n(msrs.entries(), entries.size(), entries.begin());
  return static_cast<size_t>(*done);
}

// KVM stops at the first MSR that it does not give. Its list may name some that this CPU's table of
// features takes away again; those are left out.
Result<std::vector<kvm_msr_entry>> read_msrs(int fd, std::span<const uint32_t> indices) {
  std::vector<kvm_msr_entry> all;
  while (!indices.empty()) {
    std::vector<kvm_msr_entry> part;
    for (const uint32_t index : indices.first(std::min(indices.size(), kMsrsPerCall))) {
      part.push_back({.index = index, .reserved = 0, .data = 0});
    }
    auto got = transfer_msrs(fd, false, part);
    if (!got) return std::unexpected(got.error());
    all.insert(all.end(), part.begin(), part.begin() + static_cast<ptrdiff_t>(*got));
    indices = indices.subspan(*got == part.size() ? *got : *got + 1);
  }
  return all;
}

// An MSR that cannot be written is no loss when it has the value already.
Result<void> judge_refused_msr(int fd, const kvm_msr_entry& wanted) {
  kvm_msr_entry present{.index = wanted.index, .reserved = 0, .data = 0};
  auto got = transfer_msrs(fd, false, {&present, 1});
  if (!got) return std::unexpected(got.error());
  if (*got == 1 && present.data == wanted.data) return {};
  return fail(text("KVM refuses MSR %#x = %#llx: the snapshot was made by another kernel or CPU",
                   wanted.index, static_cast<unsigned long long>(wanted.data)));
}

Result<void> write_msrs(int fd, std::span<const kvm_msr_entry> wanted) {
  while (!wanted.empty()) {
    const auto part = wanted.first(std::min(wanted.size(), kMsrsPerCall));
    std::vector<kvm_msr_entry> copy(part.begin(), part.end());
    auto set = transfer_msrs(fd, true, copy);
    if (!set) return std::unexpected(set.error());
    wanted = wanted.subspan(*set);
    if (*set == part.size()) continue;
    if (auto judged = judge_refused_msr(fd, wanted.front()); !judged) return judged;
    wanted = wanted.subspan(1);
  }
  return {};
}

// ---- single parts

Result<std::vector<uint8_t>> read_xsave(int fd, size_t size) {
  std::vector<uint8_t> bytes(size);
  auto got = size > sizeof(kvm_xsave)
                 ? kvm_ioctl(fd, KVM_GET_XSAVE2, "KVM_GET_XSAVE2", bytes.data())
                 : kvm_ioctl(fd, KVM_GET_XSAVE, "KVM_GET_XSAVE", bytes.data());
  if (!got) return std::unexpected(got.error());
  return bytes;
}

// KVM reads as many bytes as this host's CPU needs.
Result<void> write_xsave(int fd, size_t size, const std::vector<uint8_t>& saved) {
  std::vector<uint8_t> bytes = saved;
  bytes.resize(std::max(size, saved.size()));
  auto set = kvm_ioctl(fd, KVM_SET_XSAVE, "KVM_SET_XSAVE", bytes.data());
  if (!set) return std::unexpected(set.error());
  return {};
}

// A guest that has not switched virtualization on has no nested state.
Result<std::vector<uint8_t>> read_nested(int fd, const VcpuAbi& abi, const kvm_sregs& sregs) {
  const bool hypervisor = (sregs.efer & kEferSvme) != 0 || (sregs.cr4 & kCr4Vmxe) != 0;
  if (!hypervisor || abi.nested_bytes == 0) return std::vector<uint8_t>{};
  std::vector<uint8_t> bytes(abi.nested_bytes);
  auto* header = reinterpret_cast<kvm_nested_state*>(bytes.data());
  header->size = static_cast<uint32_t>(bytes.size());
  auto got = kvm_ioctl(fd, KVM_GET_NESTED_STATE, "KVM_GET_NESTED_STATE", header);
  if (!got) return std::unexpected(got.error());
  bytes.resize(header->size);
  return bytes;
}

Result<void> write_cpuid(int fd, const VcpuState& state) {
  const auto saved = state.cpuid_entries();
  Flexible<kvm_cpuid2, kvm_cpuid_entry2> table(saved.size());
  table.header()->nent = static_cast<uint32_t>(saved.size());
  std::ranges::copy(saved, table.entries());
  auto set = kvm_ioctl(fd, KVM_SET_CPUID2, "KVM_SET_CPUID2", table.header());
  if (!set) return std::unexpected(set.error());
  return {};
}

Result<void> set_tsc_frequency(const FreshVcpu& vcpu, const VcpuAbi& abi, uint32_t wanted) {
  const uint32_t here = vcpu.tsc_khz;
  const uint64_t difference = here > wanted ? here - wanted : wanted - here;
  if (difference * 1'000'000 <= kTscTolerance * wanted) return {};
  if (!abi.tsc_scaling) {
    return fail(
        text("the snapshot's time stamp counter runs at %u kHz, this host's at %u kHz, and its CPU "
             "cannot scale it: restore it on the kind of host that it was made on",
             wanted, here));
  }
  auto set =
      kvm_ioctl(vcpu.fd, KVM_SET_TSC_KHZ, "KVM_SET_TSC_KHZ", static_cast<unsigned long>(wanted));
  if (!set) return std::unexpected(set.error());
  return {};
}

// ---- what a vCPU is after a reset (Intel SDM 3A, 9.1.1; AMD APM 2, 14.1.3), and KVM makes it so.
// What is saved as such need not be set: each call to a vCPU costs a good deal of a clone's time,
// since KVM brings the vCPU onto the host's CPU for it and takes it down again.

bool as_after_reset(const kvm_debugregs& debug) {
  constexpr uint64_t kDr6 = 0xffff0ff0;
  constexpr uint64_t kDr7 = 0x400;
  return std::ranges::all_of(debug.db, [](uint64_t address) { return address == 0; }) &&
         debug.dr6 == kDr6 && debug.dr7 == kDr7 && debug.flags == 0;
}

bool as_after_reset(const kvm_xcrs& xcrs) {
  constexpr uint64_t kX87 = 1;
  return xcrs.nr_xcrs == 1 && xcrs.flags == 0 && xcrs.xcrs[0].xcr == 0 &&
         xcrs.xcrs[0].value == kX87;
}

bool as_after_reset(const kvm_mp_state& state, bool boots) {
  return state.mp_state == (boots ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_UNINITIALIZED);
}

// Nothing pending, nothing masked. `flags` only says which fields mean something.
bool as_after_reset(const kvm_vcpu_events& events) {
  kvm_vcpu_events reset{};
  reset.flags = events.flags;
  return std::memcmp(&events, &reset, sizeof(events)) == 0;
}

// Disarmed.
bool as_after_reset(std::span<const kvm_msr_entry> deadline) {
  return std::ranges::all_of(deadline, [](const kvm_msr_entry& entry) { return entry.data == 0; });
}

// KVM takes a TSC within a second of what it expects for an attempt to make the counters of several
// vCPUs one, and does not set it. Before Linux 6.7 what it expects is at first a counter that began
// when the vCPU was made: a guest that was saved in its first second would find its counter back
// there, and its clock and timers would stand still until it has caught up. So the first vCPU's
// counter is set by way of a value that is minutes away.
std::vector<kvm_msr_entry> with_far_tsc(const std::vector<kvm_msr_entry>& msrs) {
  constexpr uint64_t kFarAway = 1ULL << 42;
  std::vector<kvm_msr_entry> all;
  all.reserve(msrs.size() + 1);
  for (const kvm_msr_entry& entry : msrs) {
    if (entry.index == kMsrTsc) {
      all.push_back({.index = kMsrTsc, .reserved = 0, .data = entry.data + kFarAway});
    }
    all.push_back(entry);
  }
  return all;
}

kvm_device_attr tsc_offset_attribute(uint64_t& offset) {
  kvm_device_attr attribute{};
  attribute.group = KVM_VCPU_TSC_CTRL;
  attribute.attr = KVM_VCPU_TSC_OFFSET;
  attribute.addr = reinterpret_cast<uint64_t>(&offset);
  return attribute;
}

// One get or set after another, until the first error.
class Steps {
 public:
  explicit Steps(int fd) : fd_(fd) {}
  template <class Argument>
  void step(unsigned long request, const char* name, Argument* argument) {
    if (!result_) return;
    auto done = kvm_ioctl(fd_, request, name, argument);
    if (!done) result_ = std::unexpected(done.error());
  }
  template <class Value>
  void keep(Result<Value> made, Value& into) {
    if (!result_) return;
    if (made) {
      into = std::move(*made);
    } else {
      result_ = std::unexpected(made.error());
    }
  }
  void then(const std::function<Result<void>()>& call) {
    if (result_) result_ = call();
  }
  [[nodiscard]] Result<void> result() const { return result_; }

 private:
  int fd_;
  Result<void> result_;
};

}  // namespace

// ---- the struct

void VcpuState::describe(StateVisitor& visitor) {
  visitor.field("tsc_khz", tsc_khz);
  visitor.field("mp_state", mp_state);
  visitor.field("events", events);
  visitor.field("regs", regs);
  visitor.field("sregs", sregs);
  visitor.field("debug", debug);
  visitor.field("xcrs", xcrs);
  visitor.field("lapic", lapic);
  visitor.field("cpuid", cpuid, kMaxCpuid * sizeof(kvm_cpuid_entry2));
  visitor.field("xsave", xsave, kMaxXsave);
  visitor.field("msrs", msrs, kMaxMsrs * sizeof(kvm_msr_entry));
  visitor.field("nested", nested, kMaxNested);
}

Result<void> VcpuState::valid() const {
  if (cpuid.empty() || cpuid.size() % sizeof(kvm_cpuid_entry2) != 0) {
    return fail("its CPUID table has a wrong size");
  }
  if (msrs.size() % sizeof(kvm_msr_entry) != 0) return fail("its list of MSRs has a wrong size");
  if (xsave.size() < sizeof(kvm_xsave)) return fail("its FPU state is too short");
  if (tsc_khz == 0) return fail("its time stamp counter stands still");
  if (xcrs.nr_xcrs > KVM_MAX_XCRS) return fail("it has too many XCRs");
  if (nested.empty()) return {};
  uint32_t size = 0;
  if (nested.size() < sizeof(kvm_nested_state)) return fail("its nested state is too short");
  std::memcpy(&size, nested.data() + offsetof(kvm_nested_state, size), sizeof(size));
  if (size != nested.size()) return fail("its nested state has a wrong size");
  return {};
}

std::span<const kvm_cpuid_entry2> VcpuState::cpuid_entries() const {
  return entries_of<kvm_cpuid_entry2>(cpuid);
}

std::span<const kvm_msr_entry> VcpuState::msr_entries() const {
  return entries_of<kvm_msr_entry>(msrs);
}

std::optional<uint64_t> VcpuState::msr(uint32_t index) const {
  for (const kvm_msr_entry& entry : msr_entries()) {
    if (entry.index == index) return entry.data;
  }
  return std::nullopt;
}

// KVM begins with all counters alike; a guest that moves one leaves the distance in TSC_ADJUST.
bool VcpuState::shares_tsc(const VcpuState& other) const {
  return tsc_khz == other.tsc_khz && msr(kMsrTscAdjust) == other.msr(kMsrTscAdjust);
}

bool VcpuState::uses_clock() const {
  constexpr uint64_t kOn = 1;
  return std::ranges::any_of(msr_entries(), [](const kvm_msr_entry& entry) {
    const bool clock = entry.index == MSR_KVM_SYSTEM_TIME || entry.index == MSR_KVM_SYSTEM_TIME_NEW;
    return clock && (entry.data & kOn) != 0;
  });
}

// ---- what the host has

Result<VcpuAbi> VcpuAbi::of(const Kvm& kvm) {
  VcpuAbi abi;
  abi.xsave_bytes =
      std::max<size_t>(sizeof(kvm_xsave), static_cast<size_t>(kvm.extension(KVM_CAP_XSAVE2)));
  abi.nested_bytes = static_cast<size_t>(kvm.extension(KVM_CAP_NESTED_STATE));
  abi.tsc_scaling = kvm.extension(KVM_CAP_TSC_CONTROL) > 0;
  MsrList list(VcpuState::kMaxMsrs);
  list.header()->nmsrs = VcpuState::kMaxMsrs;
  auto got = kvm_ioctl(kvm.fd(), KVM_GET_MSR_INDEX_LIST, "KVM_GET_MSR_INDEX_LIST", list.header());
  if (!got) return std::unexpected(got.error());
  abi.msrs.assign(list.entries(), list.entries() + list.header()->nmsrs);
  return abi;
}

// ---- reading

Result<VcpuState> capture_vcpu(int fd, const VcpuAbi& abi,
                               std::span<const kvm_cpuid_entry2> cpuid) {
  VcpuState state;
  state.cpuid = bytes_of(cpuid);
  auto khz = kvm_ioctl(fd, KVM_GET_TSC_KHZ, "KVM_GET_TSC_KHZ", 0);
  if (!khz) return std::unexpected(khz.error());
  state.tsc_khz = static_cast<uint32_t>(*khz);

  Steps steps(fd);
  // First: a start-up message from another CPU that waits in the local APIC is carried out by this
  // call, and changes registers.
  steps.step(KVM_GET_MP_STATE, "KVM_GET_MP_STATE", &state.mp_state);
  // An exception that is queued may put its address into CR2 or DR6 now: before both are read.
  steps.step(KVM_GET_VCPU_EVENTS, "KVM_GET_VCPU_EVENTS", &state.events);
  steps.step(KVM_GET_REGS, "KVM_GET_REGS", &state.regs);
  steps.step(KVM_GET_SREGS, "KVM_GET_SREGS", &state.sregs);
  steps.step(KVM_GET_DEBUGREGS, "KVM_GET_DEBUGREGS", &state.debug);
  steps.step(KVM_GET_XCRS, "KVM_GET_XCRS", &state.xcrs);
  if (!steps.result()) return std::unexpected(steps.result().error());
  steps.keep(read_xsave(fd, abi.xsave_bytes), state.xsave);
  steps.keep(read_nested(fd, abi, state.sregs), state.nested);
  // The list has the whole range of KVM's own MSRs (0x4b564d00 and up) as far as this kernel knows
  // them. It is read before the local APIC: should the deadline timer go off in between, the
  // deadline is saved as still to come and the interrupt as pending, and comes once too often; the
  // other way round it would be lost.
  auto msrs = read_msrs(fd, abi.msrs);
  if (!msrs) return std::unexpected(msrs.error());
  state.msrs = bytes_of(std::span<const kvm_msr_entry>(*msrs));
  steps.step(KVM_GET_LAPIC, "KVM_GET_LAPIC", &state.lapic);
  if (!steps.result()) return std::unexpected(steps.result().error());
  return state;
}

std::optional<uint64_t> tsc_offset_of(int fd) {
  uint64_t offset = 0;
  const kvm_device_attr attribute = tsc_offset_attribute(offset);
  if (ioctl(fd, KVM_GET_DEVICE_ATTR, &attribute) != 0) return std::nullopt;
  return offset;
}

// ---- setting

Result<void> set_tsc_offset(int fd, uint64_t offset) {
  const kvm_device_attr attribute = tsc_offset_attribute(offset);
  auto set = kvm_ioctl(fd, KVM_SET_DEVICE_ATTR, "KVM_SET_DEVICE_ATTR (TSC offset)", &attribute);
  if (!set) return std::unexpected(set.error());
  return {};
}

Result<void> restore_vcpu(const FreshVcpu& vcpu, const VcpuAbi& abi, const VcpuState& state) {
  const int fd = vcpu.fd;
  // The deadline comes late, see below; everything else keeps KVM's order.
  std::vector<kvm_msr_entry> msrs;
  std::vector<kvm_msr_entry> deadline;
  for (const kvm_msr_entry& entry : state.msr_entries()) {
    (entry.index == kMsrTscDeadline ? deadline : msrs).push_back(entry);
  }
  Steps steps(fd);
  // KVM judges CR4, EFER, XCR0 and MSRs by the features that CPUID shows: so CPUID is first.
  if (!vcpu.has_cpuid) steps.then([&] { return write_cpuid(fd, state); });
  steps.then([&] { return set_tsc_frequency(vcpu, abi, state.tsc_khz); });
  // SREGS has the APIC's base and mode, by which the local APIC's registers are then understood.
  steps.step(KVM_SET_SREGS, "KVM_SET_SREGS", const_cast<kvm_sregs*>(&state.sregs));
  // XCR0 says which parts of the FPU state are in use.
  if (!as_after_reset(state.xcrs)) {
    steps.step(KVM_SET_XCRS, "KVM_SET_XCRS", const_cast<kvm_xcrs*>(&state.xcrs));
  }
  steps.then([&] { return write_xsave(fd, abi.xsave_bytes, state.xsave); });
  if (!as_after_reset(state.debug)) {
    steps.step(KVM_SET_DEBUGREGS, "KVM_SET_DEBUGREGS", const_cast<kvm_debugregs*>(&state.debug));
  }
  // The TSC is among these. KVM makes those of several vCPUs one when they are written less than a
  // second apart; a slow host takes longer, so it is told.
  steps.then([&] { return write_msrs(fd, vcpu.boots ? with_far_tsc(msrs) : msrs); });
  if (vcpu.tsc_offset) steps.then([&] { return set_tsc_offset(fd, *vcpu.tsc_offset); });
  if (!state.nested.empty()) {
    steps.step(KVM_SET_NESTED_STATE, "KVM_SET_NESTED_STATE",
               const_cast<uint8_t*>(state.nested.data()));
  }
  steps.step(KVM_SET_LAPIC, "KVM_SET_LAPIC", const_cast<kvm_lapic_state*>(&state.lapic));
  // The deadline counts on the TSC, and KVM takes it only while the APIC's timer is in that mode.
  if (!as_after_reset(deadline)) steps.then([&] { return write_msrs(fd, deadline); });
  if (!as_after_reset(state.mp_state, vcpu.boots)) {
    steps.step(KVM_SET_MP_STATE, "KVM_SET_MP_STATE", const_cast<kvm_mp_state*>(&state.mp_state));
  }
  // Setting the registers forgets pending exceptions: the events come after them.
  steps.step(KVM_SET_REGS, "KVM_SET_REGS", const_cast<kvm_regs*>(&state.regs));
  if (!as_after_reset(state.events)) {
    steps.step(KVM_SET_VCPU_EVENTS, "KVM_SET_VCPU_EVENTS",
               const_cast<kvm_vcpu_events*>(&state.events));
  }
  return steps.result();
}

}  // namespace thimble

// See clone_floor.h.
#include "tools/bench/programs/clone_floor.h"

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "devices/ioapic.h"
#include "vmm/flexible.h"
#include "vmm/snapshot/contents.h"

namespace thimble::bench {

namespace {

using Clock = std::chrono::steady_clock;

template <class Argument>
int call(int fd, unsigned long request, const char* name, Argument argument) {
  const int result = ioctl(fd, request, argument);
  if (result >= 0) return result;
  std::perror(name);
  std::exit(1);
}

double since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

using Msrs = Flexible<kvm_msrs, kvm_msr_entry>;

void set_state(int vcpu, const VcpuState& state, Msrs& msrs, void* xsave) {
  const auto set = [vcpu](unsigned long request, const char* name, const auto& value) {
    call(vcpu, request, name, &value);
  };
  set(KVM_SET_SREGS, "KVM_SET_SREGS", state.sregs);
  set(KVM_SET_XCRS, "KVM_SET_XCRS", state.xcrs);
  call(vcpu, KVM_SET_XSAVE, "KVM_SET_XSAVE", xsave);
  set(KVM_SET_DEBUGREGS, "KVM_SET_DEBUGREGS", state.debug);
  call(vcpu, KVM_SET_MSRS, "KVM_SET_MSRS", msrs.header());
  set(KVM_SET_LAPIC, "KVM_SET_LAPIC", state.lapic);
  set(KVM_SET_MP_STATE, "KVM_SET_MP_STATE", state.mp_state);
  set(KVM_SET_REGS, "KVM_SET_REGS", state.regs);
  set(KVM_SET_VCPU_EVENTS, "KVM_SET_VCPU_EVENTS", state.events);
}

}  // namespace

FloorTimes measure_floor(int kvm, const Snapshot& snapshot) {
  const SnapshotState& state = snapshot.contents().state;
  const VcpuState& saved = state.vcpus.front();
  const uint64_t bytes = state.shape.memory_bytes;
  auto cpuid = std::move(state.cpuids().front());
  Msrs msrs(saved.msr_entries().size());
  msrs.header()->nmsrs = static_cast<uint32_t>(saved.msr_entries().size());
  std::ranges::copy(saved.msr_entries(), msrs.entries());
  std::vector<uint8_t> xsave = saved.xsave;
  const auto area_bytes =
      static_cast<size_t>(call(kvm, KVM_GET_VCPU_MMAP_SIZE, "KVM_GET_VCPU_MMAP_SIZE", 0));

  const auto start = Clock::now();
  const int vm = call(kvm, KVM_CREATE_VM, "KVM_CREATE_VM", 0);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE,
                      snapshot.contents().memory.get(), 0);
  kvm_userspace_memory_region region{};
  region.memory_size = bytes;
  region.userspace_addr = reinterpret_cast<uint64_t>(memory);
  call(vm, KVM_SET_USER_MEMORY_REGION, "KVM_SET_USER_MEMORY_REGION", &region);
  kvm_enable_cap split{};
  split.cap = KVM_CAP_SPLIT_IRQCHIP;
  split.args[0] = kIoApicPins;
  call(vm, KVM_ENABLE_CAP, "KVM_ENABLE_CAP", &split);
  const int vcpu = call(vm, KVM_CREATE_VCPU, "KVM_CREATE_VCPU", 0);
  void* area = mmap(nullptr, area_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
  call(vcpu, KVM_SET_CPUID2, "KVM_SET_CPUID2", cpuid.header());
  set_state(vcpu, saved, msrs, xsave.data());
  call(vcpu, KVM_RUN, "KVM_RUN", 0);
  FloorTimes times;
  times.first_exit_us = since(start);
  munmap(area, area_bytes);
  close(vcpu);
  close(vm);
  munmap(memory, bytes);
  times.destroyed_us = since(start);
  return times;
}

}  // namespace thimble::bench

// One vCPU with nothing around it but a port and a register that give one number after another:
// for freezing a vCPU at an exit of the test's choice, which a whole machine cannot.
#pragma once

#include <algorithm>
#include <memory>
#include <string>

#include "devices/bus.h"
#include "devices/ioapic.h"
#include "tests/payload/payload_machine.h"
#include "vmm/cpu/cpuid.h"
#include "vmm/cpu/start_state.h"
#include "vmm/irq.h"
#include "vmm/kvm.h"
#include "vmm/load/kernel.h"
#include "vmm/memory_map.h"
#include "vmm/snapshot/vcpu_state.h"
#include "vmm/vcpu.h"

namespace thimble::test {

// Gives 0, 1, 2, … one byte per access, and calls `on_access` after each.
class Sequence final : public BusDevice {
 public:
  void read(uint64_t /*offset*/, std::span<uint8_t> data) override {
    std::ranges::fill(data, next++);
    if (on_access) on_access();
  }
  void write(uint64_t /*offset*/, std::span<const uint8_t> /*data*/) override {}
  uint8_t next = 0;
  std::function<void()> on_access;
};

// What the guest prints, and that it switched itself off.
class Printed final : public BusDevice {
 public:
  void read(uint64_t /*offset*/, std::span<uint8_t> /*data*/) override {}
  void write(uint64_t /*offset*/, std::span<const uint8_t> data) override {
    text.append(data.begin(), data.end());
    if (on_write) on_write();
  }
  std::string text;
  std::function<void()> on_write;
};

class BareVcpu {
 public:
  static constexpr uint64_t kMemory = 16ULL << 20;

  // A failure here is one of the set-up and ends the test program.
  BareVcpu(Sequence& sequence, Printed& serial, Printed& power)
      : kvm_(Kvm::open().value()),
        memory_(HostMemory::map(kMemory).value()),
        vm_(kvm_.create_vm().value()),
        irqs_(vm_.get()),
        ioapic_(irqs_),
        cpuid_(supported_cpuid(kvm_).value()) {
    kvm_userspace_memory_region region{};
    region.memory_size = kMemory;
    region.userspace_addr = reinterpret_cast<uint64_t>(memory_.ranges().front().host);
    kvm_ioctl(vm_.get(), KVM_SET_USER_MEMORY_REGION, "memory", &region).value();
    kvm_ioctl(vm_.get(), KVM_SET_TSS_ADDR, "tss", map::kKvmTss).value();
    kvm_enable_cap cap{};
    cap.cap = KVM_CAP_SPLIT_IRQCHIP;
    cap.args[0] = kIoApicPins;
    kvm_ioctl(vm_.get(), KVM_ENABLE_CAP, "irqchip", &cap).value();
    ports_.attach(0x70, 1, sequence).value();
    ports_.attach(0x3f8, 8, serial).value();
    ports_.attach(0x600, 1, power).value();
    mmio_.attach(0xd0000000, 0x1000, sequence).value();
    vcpu_ = Vcpu::create(vm_.get(), 0, kvm_.vcpu_mmap_size().value(),
                         {.ports = ports_, .mmio = mmio_, .ioapic = ioapic_})
                .value();
    adjust_cpuid(cpuid_, 0, 1, kvm_.extension(KVM_CAP_TSC_DEADLINE_TIMER) > 0);
    abi_ = VcpuAbi::of(kvm_).value();
  }

  void load(const std::string& payload) {
    const GuestMemory memory(memory_.ranges());
    const auto kernel =
        load_kernel(memory, {.path = payload_path(payload)}, KernelEntry::kLinux64).value();
    write_start_tables(memory).value();
    kvm_ioctl(vcpu_->fd(), KVM_SET_CPUID2, "cpuid", cpuid_.header()).value();
    set_start_xcr0(vcpu_->fd(), cpuid_).value();
    set_start_msrs(vcpu_->fd()).value();
    set_start_registers(vcpu_->fd(), kernel.entry).value();
  }

  void take_over(BareVcpu& other) {
    std::ranges::copy(other.memory_.bytes(), memory_.ranges().front().host);
    const VcpuState state = other.capture();
    const FreshVcpu fresh{.fd = vcpu_->fd(), .tsc_khz = state.tsc_khz};
    restore_vcpu(fresh, abi_, state).value();
  }

  [[nodiscard]] VcpuState capture() {
    return capture_vcpu(vcpu_->fd(), abi_, {cpuid_.entries(), cpuid_.header()->nent}).value();
  }
  Vcpu& vcpu() { return *vcpu_; }
  [[nodiscard]] const VcpuAbi& abi() const { return abi_; }

 private:
  Kvm kvm_;
  HostMemory memory_;
  Fd vm_;
  IrqLines irqs_;
  IoApic ioapic_;
  CpuidTable cpuid_;
  Bus ports_;
  Bus mmio_;
  std::unique_ptr<Vcpu> vcpu_;
  VcpuAbi abi_;
};

}  // namespace thimble::test

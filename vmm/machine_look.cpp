// A look inside a machine, and small changes there; see thimble/machine.h.
#include <cstring>

#include "devices/text.h"
#include "vmm/parts.h"

namespace thimble {

namespace {

Registers registers_of(const kvm_regs& regs, const kvm_sregs& sregs) {
  return {.rax = regs.rax,
          .rbx = regs.rbx,
          .rcx = regs.rcx,
          .rdx = regs.rdx,
          .rsi = regs.rsi,
          .rdi = regs.rdi,
          .rsp = regs.rsp,
          .rbp = regs.rbp,
          .r8 = regs.r8,
          .r9 = regs.r9,
          .r10 = regs.r10,
          .r11 = regs.r11,
          .r12 = regs.r12,
          .r13 = regs.r13,
          .r14 = regs.r14,
          .r15 = regs.r15,
          .rip = regs.rip,
          .rflags = regs.rflags,
          .cr0 = sregs.cr0,
          .cr2 = sregs.cr2,
          .cr3 = sregs.cr3,
          .cr4 = sregs.cr4,
          .efer = sregs.efer,
          .fs_base = sregs.fs.base,
          .gs_base = sregs.gs.base,
          .cs = sregs.cs.selector};
}

kvm_regs kvm_registers(const Registers& from) {
  kvm_regs regs{};
  regs.rax = from.rax, regs.rbx = from.rbx, regs.rcx = from.rcx, regs.rdx = from.rdx;
  regs.rsi = from.rsi, regs.rdi = from.rdi, regs.rsp = from.rsp, regs.rbp = from.rbp;
  regs.r8 = from.r8, regs.r9 = from.r9, regs.r10 = from.r10, regs.r11 = from.r11;
  regs.r12 = from.r12, regs.r13 = from.r13, regs.r14 = from.r14, regs.r15 = from.r15;
  regs.rip = from.rip, regs.rflags = from.rflags;
  return regs;
}

}  // namespace

Result<uint8_t*> Machine::Parts::memory_at(uint64_t address, size_t size) const {
  if (loop_thread.load() == std::this_thread::get_id()) {
    return fail(ErrorKind::kWrongState, "guest memory: not from the machine's own callbacks");
  }
  uint8_t* const at = memory.at(address, size);
  if (at != nullptr) return at;
  return fail(ErrorKind::kInvalid,
              text("guest memory: %zu bytes at %#lx are not all memory", size, address));
}

// A machine whose memory is reclaimed has it elsewhere: whoever holds `operation` has ended that.
Result<void> Machine::read_memory(uint64_t address, std::span<uint8_t> into) const {
  const auto from = parts_->memory_at(address, into.size());
  if (!from) return std::unexpected(from.error());
  const auto guard = parts_->begin_operation();
  std::memcpy(into.data(), *from, into.size());
  return {};
}

Result<void> Machine::write_memory(uint64_t address, std::span<const uint8_t> bytes) {
  const auto to = parts_->memory_at(address, bytes.size());
  if (!to) return std::unexpected(to.error());
  const auto guard = parts_->begin_operation();
  std::memcpy(*to, bytes.data(), bytes.size());
  return {};
}

Result<int> Machine::Parts::still_vcpu(unsigned vcpu) {
  const PauseGate::State state = gate.state();
  if (state != PauseGate::State::kPaused && state != PauseGate::State::kIdle) {
    return fail(ErrorKind::kWrongState, "registers: the machine is not paused");
  }
  if (vcpu >= vcpus.size()) {
    return fail(ErrorKind::kInvalid,
                text("registers of vCPU %u: the machine has %zu", vcpu, vcpus.size()));
  }
  return vcpus[vcpu]->fd();
}

Result<Registers> Machine::registers(unsigned vcpu) const {
  const auto guard = parts_->begin_operation();
  const auto fd = parts_->still_vcpu(vcpu);
  if (!fd) return std::unexpected(fd.error());
  kvm_regs regs{};
  kvm_sregs sregs{};
  auto got = kvm_ioctl(*fd, KVM_GET_REGS, "KVM_GET_REGS", &regs);
  if (got) got = kvm_ioctl(*fd, KVM_GET_SREGS, "KVM_GET_SREGS", &sregs);
  if (!got) return std::unexpected(got.error());
  return registers_of(regs, sregs);
}

Result<void> Machine::set_registers(unsigned vcpu, const Registers& registers) {
  const auto guard = parts_->begin_operation();
  const auto fd = parts_->still_vcpu(vcpu);
  if (!fd) return std::unexpected(fd.error());
  kvm_regs regs = kvm_registers(registers);
  auto set = kvm_ioctl(*fd, KVM_SET_REGS, "KVM_SET_REGS", &regs);
  if (!set) return std::unexpected(set.error());
  return {};
}

}  // namespace thimble

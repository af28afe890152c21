// The run loop; see vcpu.h.
#include "vmm/vcpu.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <span>

#include "devices/text.h"
#include "vmm/flexible.h"
#include "vmm/kvm.h"

namespace thimble {

Result<std::unique_ptr<Vcpu>> Vcpu::create(int vm, unsigned index, size_t run_size, Exits exits) {
  auto made = kvm_ioctl(vm, KVM_CREATE_VCPU, "KVM_CREATE_VCPU", index);
  if (!made) return std::unexpected(made.error());
  Fd fd(*made);
  void* area = mmap(nullptr, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (area == MAP_FAILED) return fail_errno("map a vCPU's run area");
  return std::unique_ptr<Vcpu>(
      new Vcpu(std::move(fd), index, static_cast<kvm_run*>(area), run_size, exits));
}

Vcpu::Vcpu(Fd fd, unsigned index, kvm_run* area, size_t area_size, Exits exits)
    : fd_(std::move(fd)), index_(index), area_(area), area_size_(area_size), exits_(exits) {
  // The registers then come with each exit, where the kernel knows how; elsewhere it is ignored.
  if (exits_.tracer != nullptr) area_->kvm_valid_regs = KVM_SYNC_X86_REGS;
}

Vcpu::~Vcpu() { munmap(area_, area_size_); }

// The guest runs with the thread's own signal mask, less the kick. A kick from before a pause is
// still pending and would make every KVM_RUN return.
Result<void> Vcpu::let_kick_in() {
  sigset_t kick_set;
  sigset_t blocked;
  sigemptyset(&kick_set);
  sigaddset(&kick_set, kKickSignal);
  pthread_sigmask(SIG_BLOCK, &kick_set, nullptr);
  pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
  sigdelset(&blocked, kKickSignal);
  const timespec at_once{};
  while (sigtimedwait(&kick_set, nullptr, &at_once) >= 0) {
  }
  constexpr size_t kKernelSetBytes = 8;  // the kernel's sigset_t has 64 signals
  Flexible<kvm_signal_mask, uint64_t> mask(1);
  mask.header()->len = kKernelSetBytes;
  std::memcpy(mask.header()->sigset, &blocked, kKernelSetBytes);
  auto done = kvm_ioctl(fd_.get(), KVM_SET_SIGNAL_MASK, "KVM_SET_SIGNAL_MASK", mask.header());
  if (!done) return std::unexpected(done.error());
  return {};
}

// A kick that comes meanwhile stays: it sets kicked_ before immediate_exit.
void Vcpu::warm_up() {
  __atomic_store_n(&area_->immediate_exit, 1, __ATOMIC_SEQ_CST);
  [[maybe_unused]] const int interrupted = ioctl(fd_.get(), KVM_RUN, 0);
  __atomic_store_n(&area_->immediate_exit, 0, __ATOMIC_SEQ_CST);
  if (kicked_.load()) __atomic_store_n(&area_->immediate_exit, 1, __ATOMIC_SEQ_CST);
}

std::optional<End> Vcpu::run() {
  if (auto done = let_kick_in(); !done) return End{End::Kind::kHostError, done.error().message};
  {
    const std::scoped_lock guard(thread_lock_);
    thread_.store(pthread_self());
  }
  std::optional<End> end;
  bool left = false;
  while (!end && !kicked_.load()) end = step(left);
  const std::scoped_lock guard(thread_lock_);
  thread_.store(0);
  return end;
}

std::optional<End> Vcpu::step(bool& left) {
  left = false;
  if (ioctl(fd_.get(), KVM_RUN, 0) == 0) {
    auto end = handle_exit();
    if (exits_.tracer != nullptr) exits_.tracer->exit(index_, *area_);
    return end;
  }
  if (errno == EINTR || errno == EAGAIN) {
    if (exits_.tracer != nullptr) exits_.tracer->signalled(index_);
    left = true;
    return std::nullopt;
  }
  // The kernel could not reach the page that the guest wanted.
  if (errno == EFAULT) {
    return End{End::Kind::kHostError, text("vCPU %u: guest memory cannot be reached", index_)};
  }
  return internal_error(text("KVM_RUN: %s", std::strerror(errno)));
}

std::optional<End> Vcpu::finish_exit() {
  std::optional<End> end;
  bool left = false;
  while (!end && !left) end = step(left);
  return end;
}

void Vcpu::rearm() {
  kicked_.store(false);
  __atomic_store_n(&area_->immediate_exit, 0, __ATOMIC_SEQ_CST);
}

std::chrono::nanoseconds Vcpu::processor_time() {
  const std::scoped_lock guard(thread_lock_);
  const pthread_t thread = thread_.load();
  clockid_t clock = 0;
  timespec used{};
  if (thread == 0 || pthread_getcpuclockid(thread, &clock) != 0 ||
      clock_gettime(clock, &used) != 0) {
    return {};
  }
  return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

void Vcpu::kick() {
  kicked_.store(true);
  __atomic_store_n(&area_->immediate_exit, 1, __ATOMIC_SEQ_CST);
  const std::scoped_lock guard(thread_lock_);
  // The thread itself is not in the guest, and looks at kicked_ before it enters it again.
  const pthread_t thread = thread_.load();
  if (thread != 0 && pthread_equal(thread, pthread_self()) == 0) {
    pthread_kill(thread, kKickSignal);
  }
}

std::optional<End> Vcpu::handle_exit() {
  switch (area_->exit_reason) {
    case KVM_EXIT_IO:
      handle_port();
      return std::nullopt;
    case KVM_EXIT_MMIO:
      handle_mmio();
      return std::nullopt;
    case KVM_EXIT_IOAPIC_EOI:
      exits_.ioapic.end_of_interrupt(area_->eoi.vector);
      return std::nullopt;
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
      return std::nullopt;
    case KVM_EXIT_SHUTDOWN:
      return End{End::Kind::kTripleFault, "the guest's CPU triple-faulted\n" + registers()};
    case KVM_EXIT_SYSTEM_EVENT:
      return handle_system_event();
    case KVM_EXIT_FAIL_ENTRY:
      return internal_error(text("the CPU refused to enter the guest, reason %#llx",
                                 area_->fail_entry.hardware_entry_failure_reason));
    case KVM_EXIT_INTERNAL_ERROR:
      return internal_error(text("KVM internal error %u", area_->internal.suberror));
    default:
      return internal_error(text("unexpected KVM exit %u", area_->exit_reason));
  }
}

// One exit may carry many accesses of the same port (INS, OUTS): `count` elements one after
// another.
void Vcpu::handle_port() {
  auto* data = reinterpret_cast<uint8_t*>(area_) + area_->io.data_offset;
  const size_t size = area_->io.size;
  for (uint32_t i = 0; i < area_->io.count; ++i, data += size) {
    if (area_->io.direction == KVM_EXIT_IO_OUT) {
      exits_.ports.write(area_->io.port, std::span<const uint8_t>(data, size));
    } else {
      exits_.ports.read(area_->io.port, std::span(data, size));
    }
  }
}

void Vcpu::handle_mmio() {
  const size_t size = std::min<size_t>(area_->mmio.len, sizeof(area_->mmio.data));
  if (area_->mmio.is_write != 0) {
    exits_.mmio.write(area_->mmio.phys_addr, std::span<const uint8_t>(area_->mmio.data, size));
  } else {
    exits_.mmio.read(area_->mmio.phys_addr, std::span(area_->mmio.data, size));
  }
}

std::optional<End> Vcpu::handle_system_event() const {
  switch (area_->system_event.type) {
    case KVM_SYSTEM_EVENT_SHUTDOWN:
      return End{End::Kind::kPowerOff, "the guest switched itself off"};
    case KVM_SYSTEM_EVENT_RESET:
      return End{End::Kind::kReset, "the guest asked for a reset"};
    default:
      return internal_error(text("system event %u", area_->system_event.type));
  }
}

End Vcpu::internal_error(const std::string& what) const {
  return End{End::Kind::kInternalError, text("vCPU %u: %s\n", index_, what.c_str()) + registers()};
}

std::string Vcpu::registers() const {
  kvm_regs regs{};
  kvm_sregs sregs{};
  if (ioctl(fd_.get(), KVM_GET_REGS, &regs) != 0 || ioctl(fd_.get(), KVM_GET_SREGS, &sregs) != 0) {
    return "  (registers could not be read)";
  }
  std::string out = text("  rip %016llx rflags %08llx rsp %016llx rbp %016llx\n", regs.rip,
                         regs.rflags, regs.rsp, regs.rbp);
  out += text("  rax %016llx rbx %016llx rcx %016llx rdx %016llx\n", regs.rax, regs.rbx, regs.rcx,
              regs.rdx);
  out += text("  rsi %016llx rdi %016llx r8  %016llx r9  %016llx\n", regs.rsi, regs.rdi, regs.r8,
              regs.r9);
  out += text("  r10 %016llx r11 %016llx r12 %016llx r13 %016llx\n", regs.r10, regs.r11, regs.r12,
              regs.r13);
  out += text("  r14 %016llx r15 %016llx cs  %04x:%016llx\n", regs.r14, regs.r15, sregs.cs.selector,
              sregs.cs.base);
  out += text("  cr0 %08llx cr2 %016llx cr3 %016llx cr4 %08llx efer %llx", sregs.cr0, sregs.cr2,
              sregs.cr3, sregs.cr4, sregs.efer);
  return out;
}

}  // namespace thimble

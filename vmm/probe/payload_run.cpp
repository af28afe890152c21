// One VM, one vCPU, no interrupt controller; see payload_run.h.
#include "vmm/probe/payload_run.h"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "vmm/cpu/cpuid.h"

namespace thimble::probe {

namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kTaskStateArea = 0xfffbd000;  // Intel wants one; outside our memory
constexpr uint64_t kShortLoops = 5'000;          // 3 ms where ring 0 is interpreted
constexpr uint64_t kLongLoops = 1'000'000;
constexpr double kWorthALongLoop = 20e6;  // instructions a second
constexpr int kRepeats = 3;

// A private anonymous or descriptor mapping, unmapped when it goes.
class Mapping {
 public:
  Mapping(size_t size, int flags, int fd)
      : at_(mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, fd, 0)), size_(size) {}
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (ok()) munmap(at_, size_);
  }
  [[nodiscard]] bool ok() const { return at_ != MAP_FAILED; }
  [[nodiscard]] std::span<uint8_t> bytes() const { return {static_cast<uint8_t*>(at_), size_}; }

 private:
  void* at_;
  size_t size_;
};

// Which of a processor's features a step needs: the CPUID leaf, the register, the bit.
bool offered(CpuidTable& table, Step step) {
  struct Needed {
    Step step;
    uint32_t leaf;
    uint32_t kvm_cpuid_entry2::* reg;
    unsigned bit;
  };
  constexpr Needed kNeeded[] = {
      {Step::kPopcnt, 1, &kvm_cpuid_entry2::ecx, 23},
      {Step::kCompare16, 1, &kvm_cpuid_entry2::ecx, 13},
      {Step::kXsave, 1, &kvm_cpuid_entry2::ecx, 26},
      {Step::kAccess, 7, &kvm_cpuid_entry2::ebx, 20},
      {Step::kRdtscp, 0x80000001, &kvm_cpuid_entry2::edx, 27},
  };
  const auto* needed = std::ranges::find(kNeeded, step, &Needed::step);
  if (needed == std::end(kNeeded)) return true;
  for (uint32_t i = 0; i < table.header()->nent; ++i) {
    const kvm_cpuid_entry2& entry = table.entries()[i];
    if (entry.function == needed->leaf && entry.index == 0) {
      return (entry.*(needed->reg) >> needed->bit & 1) != 0;
    }
  }
  return false;
}

class ProbeVm {
 public:
  static Result<std::unique_ptr<ProbeVm>> create(const Kvm& kvm);

  StepResult run(Step step);

 private:
  ProbeVm(Fd vm, Fd vcpu, CpuidTable cpuid, size_t run_size)
      : vm_(std::move(vm)),
        vcpu_(std::move(vcpu)),
        cpuid_(std::move(cpuid)),
        memory_(kMemorySize, MAP_PRIVATE | MAP_ANONYMOUS, -1),
        run_(run_size, MAP_SHARED, vcpu_.get()) {}
  Result<void> set_up();
  StepResult run_once(Step step, uint64_t loops);
  StepResult measure_speed();
  StepResult timed_loop(uint64_t loops);
  StepResult best_loop(uint64_t loops);
  void finish_port_access();
  [[nodiscard]] StepResult judge(Step step) const;
  [[nodiscard]] kvm_run& area() const { return *reinterpret_cast<kvm_run*>(run_.bytes().data()); }

  Fd vm_;
  Fd vcpu_;
  CpuidTable cpuid_;
  Mapping memory_;
  Mapping run_;
  kvm_regs first_regs_{};
  kvm_sregs first_sregs_{};
};

Result<std::unique_ptr<ProbeVm>> ProbeVm::create(const Kvm& kvm) {
  auto vm = kvm.create_vm();
  if (!vm) return std::unexpected(vm.error());
  auto vcpu = kvm_ioctl(vm->get(), KVM_CREATE_VCPU, "KVM_CREATE_VCPU", 0);
  if (!vcpu) return std::unexpected(vcpu.error());
  Fd vcpu_fd(*vcpu);
  auto run_size = kvm.vcpu_mmap_size();
  if (!run_size) return std::unexpected(run_size.error());
  auto cpuid = supported_cpuid(kvm);
  if (!cpuid) return std::unexpected(cpuid.error());
  std::unique_ptr<ProbeVm> made(
      new ProbeVm(std::move(*vm), std::move(vcpu_fd), std::move(*cpuid), *run_size));
  if (auto done = made->set_up(); !done) return std::unexpected(done.error());
  return made;
}

Result<void> ProbeVm::set_up() {
  if (!memory_.ok() || !run_.ok()) return fail_errno("map the probing guest's memory");
  write_payload(memory_.bytes());
  kvm_userspace_memory_region region{};
  region.memory_size = kMemorySize;
  region.userspace_addr = reinterpret_cast<uint64_t>(memory_.bytes().data());
  Result<int> done = kvm_ioctl(vm_.get(), KVM_SET_TSS_ADDR, "KVM_SET_TSS_ADDR", kTaskStateArea);
  if (done) {
    done = kvm_ioctl(vm_.get(), KVM_SET_USER_MEMORY_REGION, "KVM_SET_USER_MEMORY_REGION", &region);
  }
  if (done) done = kvm_ioctl(vcpu_.get(), KVM_SET_CPUID2, "KVM_SET_CPUID2", cpuid_.header());
  if (done) done = kvm_ioctl(vcpu_.get(), KVM_GET_REGS, "KVM_GET_REGS", &first_regs_);
  if (done) done = kvm_ioctl(vcpu_.get(), KVM_GET_SREGS, "KVM_GET_SREGS", &first_sregs_);
  if (!done) return std::unexpected(done.error());
  return {};
}

StepResult ProbeVm::run(Step step) {
  if (!offered(cpuid_, step)) return {.step = step, .outcome = Outcome::kNotNeeded};
  return step == Step::kSpeed ? measure_speed() : run_once(step, 0);
}

StepResult ProbeVm::run_once(Step step, uint64_t loops) {
  finish_port_access();
  kvm_regs regs = first_regs_;
  kvm_sregs sregs = first_sregs_;
  set_registers(step, loops, regs, sregs);
  int status = ioctl(vcpu_.get(), KVM_SET_SREGS, &sregs);
  if (status == 0) status = ioctl(vcpu_.get(), KVM_SET_REGS, &regs);
  while (status == 0) {
    status = ioctl(vcpu_.get(), KVM_RUN, 0);
    if (status == 0) return judge(step);
    if (errno == EINTR || errno == EAGAIN) status = 0;
  }
  constexpr uint32_t kErrno = 1U << 31;
  return {.step = step,
          .outcome = Outcome::kOtherExit,
          .detail = kErrno | static_cast<uint32_t>(errno)};
}

// A port access that left to user space ends with the next KVM_RUN; set registers would be lost in
// it.
void ProbeVm::finish_port_access() {
  area().immediate_exit = 1;
  (void)ioctl(vcpu_.get(), KVM_RUN, 0);
  area().immediate_exit = 0;
}

StepResult ProbeVm::judge(Step step) const {
  const kvm_run& exit = area();
  switch (exit.exit_reason) {
    case KVM_EXIT_IO: {
      const uint8_t value = *(reinterpret_cast<const uint8_t*>(&exit) + exit.io.data_offset);
      if (exit.io.port == kDonePort) {
        return {.step = step,
                .outcome = value == kDoneWell ? Outcome::kHolds : Outcome::kWrong,
                .detail = value};
      }
      return {.step = step, .outcome = Outcome::kException, .detail = value};
    }
    case KVM_EXIT_SHUTDOWN:
      return {.step = step, .outcome = Outcome::kTripleFault};
    case KVM_EXIT_INTERNAL_ERROR:
      return {.step = step, .outcome = Outcome::kNotEmulated, .detail = exit.internal.suberror};
    default:
      return {.step = step, .outcome = Outcome::kOtherExit, .detail = exit.exit_reason};
  }
}

StepResult ProbeVm::timed_loop(uint64_t loops) {
  const auto start = Clock::now();
  StepResult result = run_once(Step::kSpeed, loops);
  const std::chrono::duration<double> took = Clock::now() - start;
  result.instructions_per_second = 2.0 * static_cast<double>(loops) / took.count();
  return result;
}

// The best of a few: what else the host does must not count.
StepResult ProbeVm::best_loop(uint64_t loops) {
  StepResult best = timed_loop(loops);
  for (int i = 1; i < kRepeats && best.outcome == Outcome::kHolds; ++i) {
    const StepResult again = timed_loop(loops);
    if (again.outcome != Outcome::kHolds) return again;
    if (again.instructions_per_second > best.instructions_per_second) best = again;
  }
  return best;
}

// Short loops first: a long one would take seconds where ring 0 is interpreted.
StepResult ProbeVm::measure_speed() {
  const StepResult result = best_loop(kShortLoops);
  const bool quick = result.instructions_per_second > kWorthALongLoop;
  return quick && result.outcome == Outcome::kHolds ? best_loop(kLongLoops) : result;
}

}  // namespace

Result<void> run_steps(const Kvm& kvm, std::span<const Step> steps,
                       const std::function<void(const StepResult&)>& report) {
  auto vm = ProbeVm::create(kvm);
  if (!vm) return std::unexpected(vm.error());
  for (const Step step : steps) report((*vm)->run(step));
  return {};
}

}  // namespace thimble::probe

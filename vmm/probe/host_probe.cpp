// The probing guest in a child process, and the verdict; see host_probe.h.
#include "vmm/probe/host_probe.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "devices/text.h"

namespace thimble {

namespace {

using Clock = std::chrono::steady_clock;
using probe::Outcome;
using probe::Step;
using probe::StepResult;

// Below this, guest code is interpreted: the slowest emulated processor is ten times faster.
constexpr double kInterpreted = 20e6;
constexpr int kTries = 2;

// What goes through the pipe: small enough to be written in one piece.
struct Message {
  enum class Kind : uint8_t { kStep, kSetupError };
  Kind kind = Kind::kStep;
  StepResult result;
  std::array<char, 200> error{};
};
static_assert(sizeof(Message) <= 4096);

void put(int fd, const Message& message) {
  [[maybe_unused]] const ssize_t written = ::write(fd, &message, sizeof(message));
}

[[noreturn]] void child_main(const Kvm& kvm, std::span<const Step> steps, int out, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  auto done = probe::run_steps(
      kvm, steps, [out](const StepResult& result) { put(out, {.result = result, .error = {}}); });
  if (!done) {
    Message message{.kind = Message::Kind::kSetupError, .result = {}, .error = {}};
    done.error().message.copy(message.error.data(), message.error.size() - 1);
    put(out, message);
  }
  _exit(0);
}

// One message; false when the child ended or the time is over.
bool take(int fd, Clock::time_point deadline, Message& message) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd ready{fd, POLLIN, 0};
    const int count = ::poll(&ready, 1, static_cast<int>(std::max<int64_t>(left, 0)));
    if (count < 0 && errno == EINTR) continue;
    if (count != 1) return false;
    return ::read(fd, &message, sizeof(message)) == sizeof(message);
  }
}

// Kills what may be stuck in the kernel; gives up waiting for it after a moment, since a process
// that cannot die must not take its parent with it.
void end_child(pid_t child) {
  ::kill(child, SIGKILL);
  constexpr auto kTimeout = std::chrono::seconds(1);
  constexpr useconds_t kNap = 500;
  for (const auto start = Clock::now(); Clock::now() - start < kTimeout; ::usleep(kNap)) {
    if (::waitpid(child, nullptr, WNOHANG) != 0) return;
  }
}

void run_in_child(const Kvm& kvm, std::span<const Step> steps, Clock::time_point deadline,
                  HostProbe& probe) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    probe.setup_error = text("make a pipe: %s", std::strerror(errno));
    return;
  }
  const Fd from(ends[0]);
  Fd to(ends[1]);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child == 0) child_main(kvm, steps, to.get(), parent);
  to.reset();
  if (child < 0) {
    probe.setup_error = text("start a process: %s", std::strerror(errno));
    return;
  }
  Message message;
  while (probe.steps.size() < steps.size() && take(from.get(), deadline, message)) {
    if (message.kind == Message::Kind::kSetupError) {
      message.error.back() = '\0';
      probe.setup_error = message.error.data();
      break;
    }
    probe.steps.push_back(message.result);
  }
  const bool all = probe.steps.size() == steps.size() || !probe.setup_error.empty();
  end_child(child);
  if (!all) {
    probe.steps.push_back({.step = steps[probe.steps.size()], .outcome = Outcome::kStuck});
  }
}

bool passes(const StepResult& result) {
  return result.outcome == Outcome::kHolds || result.outcome == Outcome::kNotNeeded;
}

bool stuck(const HostProbe& probe) {
  return !probe.steps.empty() && probe.steps.back().outcome == Outcome::kStuck;
}

void judge(HostProbe& probe, const ProbeOptions& options) {
  if (!probe.setup_error.empty()) {
    probe.reason = "KVM made no guest: " + probe.setup_error;
    return;
  }
  for (const StepResult& result : probe.steps) {
    if (result.step == Step::kSpeed) probe.instructions_per_second = result.instructions_per_second;
  }
  const auto failed =
      std::ranges::find_if(probe.steps, [](const auto& result) { return !passes(result); });
  const bool slow =
      probe.instructions_per_second > 0 && probe.instructions_per_second < kInterpreted;
  probe.can_run_linux = failed == probe.steps.end();
  probe.certain = !stuck(probe);
  if (stuck(probe)) {
    probe.reason =
        text("the probing guest hung (%s) %d times", name_of(probe.steps.back().step), kTries);
    return;
  }
  if (probe.can_run_linux) {
    probe.nature = slow ? HostProbe::Nature::kSoftware : HostProbe::Nature::kHardware;
    probe.reason = options.only_syscall ? "a guest's system call works as on a processor"
                                        : "the probing guest ran as on a processor";
    return;
  }
  // The system call is what stops Linux for good, so it is the reason to give when it fails.
  const StepResult& last = probe.steps.back();
  const StepResult& worst = last.step == Step::kSyscall && !passes(last) ? last : *failed;
  probe.nature = HostProbe::Nature::kSoftware;
  probe.reason = text("its KVM is a software one that cannot run Linux (%s: %s)",
                      name_of(worst.step), in_words(worst).c_str());
}

std::vector<Step> steps_for(const ProbeOptions& options) {
  if (options.only_syscall) return {Step::kSyscall};
  std::vector<Step> steps;
  steps.reserve(probe::kSteps);
  for (size_t i = 0; i < probe::kSteps; ++i) steps.push_back(static_cast<Step>(i));
  return steps;
}

std::chrono::microseconds since(Clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start);
}

Result<CreationCost> create_once(const Kvm& kvm, void* page) {
  CreationCost cost;
  auto start = Clock::now();
  auto vm = kvm.create_vm();
  if (!vm) return std::unexpected(vm.error());
  cost.create = since(start);
  start = Clock::now();
  kvm_userspace_memory_region region{};
  region.memory_size = 4096;
  region.userspace_addr = reinterpret_cast<uint64_t>(page);
  kvm_enable_cap cap{};
  cap.cap = KVM_CAP_SPLIT_IRQCHIP;
  cap.args[0] = 24;
  auto done =
      kvm_ioctl(vm->get(), KVM_SET_USER_MEMORY_REGION, "KVM_SET_USER_MEMORY_REGION", &region);
  if (done) done = kvm_ioctl(vm->get(), KVM_ENABLE_CAP, "KVM_ENABLE_CAP (split irqchip)", &cap);
  if (!done) return std::unexpected(done.error());
  cost.irqchip = since(start);
  start = Clock::now();
  vm->reset();
  cost.destroy = since(start);
  return cost;
}

}  // namespace

HostProbe probe_host(const ProbeOptions& options) {
  HostProbe probe;
  const auto start = Clock::now();
  probe.device_exists = ::access(options.device, F_OK) == 0;
  auto kvm = Kvm::open(options.device);
  probe.may_open = kvm.has_value() || ::access(options.device, R_OK | W_OK) == 0;
  if (!kvm) {
    probe.open_error = probe.reason = kvm.error().message;
    return probe;
  }
  // A host under heavy load may be late once.
  for (int i = 0; i < kTries; ++i) {
    probe.steps.clear();
    run_in_child(*kvm, steps_for(options), Clock::now() + options.limit, probe);
    if (!stuck(probe)) break;
  }
  probe.took = since(start);
  judge(probe, options);
  return probe;
}

std::string in_words(const StepResult& result) {
  switch (result.outcome) {
    case Outcome::kNotTried:
      return "not tried";
    case Outcome::kNotNeeded:
      return "not offered to guests";
    case Outcome::kHolds:
      return "works";
    case Outcome::kWrong:
      return result.detail == probe::kStillUser ? "arrives in the kernel still marked as user code"
                                                : "has the wrong effect";
    case Outcome::kException:
      return text("raises exception %u", result.detail);
    case Outcome::kTripleFault:
      return "ends in a triple fault";
    case Outcome::kNotEmulated:
      return "KVM cannot execute it";
    case Outcome::kOtherExit:
      return text("ends in an unexpected way (%#x)", result.detail);
    case Outcome::kStuck:
      return "does not come back";
  }
  return "?";
}

Result<CreationCost> measure_creation(const Kvm& kvm) {
  alignas(4096) std::array<uint8_t, 4096> page{};
  std::array<CreationCost, 3> costs;
  for (CreationCost& cost : costs) {
    auto measured = create_once(kvm, page.data());
    if (!measured) return measured;
    cost = *measured;
  }
  CreationCost middle;
  for (auto part : {&CreationCost::create, &CreationCost::irqchip, &CreationCost::destroy}) {
    std::ranges::nth_element(costs, costs.begin() + 1, {}, part);
    middle.*part = costs[1].*part;
  }
  return middle;
}

}  // namespace thimble

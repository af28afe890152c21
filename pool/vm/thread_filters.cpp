// See thread_filters.h.
#include "pool/vm/thread_filters.h"

#include <linux/seccomp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>

#include "devices/text.h"
#include "pool/vm/vm_channel.h"

namespace thimble {

namespace {

constexpr unsigned kThreadShift = 24;
constexpr uint32_t kCallMask = (1U << kThreadShift) - 1;

// Runs in whatever state the thread is in: nothing but two system calls, both in every list.
void on_forbidden_call(int /*signal*/, siginfo_t* info, void* /*context*/) {
  const Violation violation = violation_of(*info);
  uint32_t message[2] = {
      static_cast<uint32_t>(VmMessageType::kViolation),
      (static_cast<uint32_t>(violation.call) & kCallMask) |
          (static_cast<uint32_t>(violation.thread) << kThreadShift),
  };
  iovec part{message, sizeof message};
  msghdr datagram{};
  datagram.msg_iov = &part;
  datagram.msg_iovlen = 1;
  ::sendmsg(violation.report, &datagram, MSG_NOSIGNAL);
  ::_exit(EXIT_FAILURE);
}

Result<void> check_host() {
  uint32_t action = SECCOMP_RET_TRAP;
  if (::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0) return {};
  return fail_errno("seccomp");
}

Result<void> catch_forbidden_calls() {
  struct sigaction action{};
  action.sa_sigaction = on_forbidden_call;
  action.sa_flags = SA_SIGINFO;
  if (::sigaction(SIGSYS, &action, nullptr) == 0) return {};
  return fail_errno("sigaction SIGSYS");
}

}  // namespace

Result<ThreadFilters> ThreadFilters::build(int channel, bool warm) {
  if (auto available = check_host(); !available) return std::unexpected(available.error());
  ThreadFilters filters(channel);
  const auto compile = [channel](FilteredThread thread,
                                 std::optional<Filter>& into) -> Result<void> {
    auto filter = Filter::of(thread, channel);
    if (!filter) return std::unexpected(filter.error());
    into = std::move(*filter);
    return {};
  };
  auto done = compile(FilteredThread::kVcpu, filters.vcpu_);
  if (done) done = compile(FilteredThread::kLoop, filters.loop_);
  if (done) done = compile(FilteredThread::kMessenger, filters.messenger_);
  if (done && warm) done = compile(FilteredThread::kWarmVm, filters.warm_vm_);
  if (done) done = catch_forbidden_calls();
  if (!done) return std::unexpected(done.error());
  return filters;
}

Result<void> ThreadFilters::confine(FilteredThread thread) const {
  const auto install = [&](const std::optional<Filter>& built) -> Result<void> {
    if (built) return built->install();
    auto filter = Filter::of(thread, channel_);
    if (!filter) return std::unexpected(filter.error());
    return filter->install();
  };
  switch (thread) {
    case FilteredThread::kVcpu:
      return install(vcpu_);
    case FilteredThread::kLoop:
      return install(loop_);
    case FilteredThread::kMessenger:
      return install(messenger_);
    case FilteredThread::kWarmVm:
      return install(warm_vm_);
    case FilteredThread::kDiskWorker:  // few hosts need this one
      return install(std::nullopt);
  }
  return {};
}

Result<void> ThreadFilters::confine(ThreadKind thread) const {
  switch (thread) {
    case ThreadKind::kVcpu:
      return confine(FilteredThread::kVcpu);
    case ThreadKind::kLoop:
      return confine(FilteredThread::kLoop);
    case ThreadKind::kDiskWorker:
      return confine(FilteredThread::kDiskWorker);
  }
  return {};
}

std::string describe_violation(uint32_t value) {
  const auto thread = static_cast<FilteredThread>(value >> kThreadShift);
  return text("the %s of the VMM made the system call %s, which it may not", name_of(thread),
              name_of_call(static_cast<int>(value & kCallMask)).c_str());
}

}  // namespace thimble

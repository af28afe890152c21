// See filter.h.
#include "vmm/jail/filter.h"

#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <utility>

#include "devices/text.h"
#include "vmm/jail/filter_programs.h"
#include "vmm/jail/sanitized.h"

namespace thimble {

namespace {

// SECCOMP_RET_DATA, 16 bits that come back in si_errno: thread above, descriptor below.
constexpr unsigned kReportBits = 12;
constexpr int kMaxReport = 1 << kReportBits;

// libseccomp knows no data for its trap action, so it is put into the finished program.
void mark_traps(std::vector<sock_filter>& program, uint16_t data) {
  for (sock_filter& step : program) {
    if (step.code == (BPF_RET | BPF_K) && step.k == SECCOMP_RET_TRAP) step.k |= data;
  }
}

}  // namespace

const char* name_of(FilteredThread thread) {
  switch (thread) {
    case FilteredThread::kVcpu:
      return "vCPU thread";
    case FilteredThread::kLoop:
      return "event loop";
    case FilteredThread::kDiskWorker:
      return "disk worker";
    case FilteredThread::kMessenger:
      return "messenger thread";
    case FilteredThread::kWarmVm:
      return "waiting event loop";
  }
  return "unknown thread";
}

Result<Filter> Filter::of(FilteredThread thread, int report) {
  if (report < 0 || report >= kMaxReport) return fail(text("report to descriptor %d", report));
  const auto built = filter_program(thread, kSanitized);
  std::vector<sock_filter> program(built.begin(), built.end());
  mark_traps(program, static_cast<uint16_t>((static_cast<unsigned>(thread) << kReportBits) |
                                            static_cast<unsigned>(report)));
  return Filter(std::move(program));
}

Result<void> Filter::install() const {
  sigset_t trap;
  sigemptyset(&trap);
  sigaddset(&trap, SIGSYS);
  pthread_sigmask(SIG_UNBLOCK, &trap, nullptr);
  const sock_fprog program{.len = static_cast<unsigned short>(program_.size()),
                           .filter = const_cast<sock_filter*>(program_.data())};
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) {
    return fail_errno("install a system call filter");
  }
  return {};
}

Violation violation_of(const siginfo_t& info) {
  const auto data = static_cast<unsigned>(info.si_errno);
  return {.call = info.si_syscall,
          .thread = static_cast<uint8_t>((data >> kReportBits) & 0xf),
          .report = static_cast<int>(data & (kMaxReport - 1))};
}

std::string name_of_call(int call) { return text("%s (%d)", call_name(call), call); }

}  // namespace thimble

// See filter.h.
#include "vmm/jail/filter.h"

#include <fcntl.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <string>

#include "devices/fd.h"
#include "devices/text.h"
#include "vmm/jail/sanitized.h"

namespace thimble {

namespace {

// SECCOMP_RET_DATA, 16 bits that come back in si_errno: thread above, descriptor below.
constexpr unsigned kReportBits = 12;
constexpr int kMaxReport = 1 << kReportBits;

// To look whether an object is there, UndefinedBehaviorSanitizer writes it into a pipe.
constexpr std::array kSanitizerCalls{AllowedCall{SYS_pipe2, "UBSan's check of a dynamic type"},
                                     AllowedCall{SYS_write, "the same"},
                                     AllowedCall{SYS_close, "the same"}};

using Context = std::unique_ptr<void, decltype(&seccomp_release)>;

Result<void> add_call(scmp_filter_ctx context, const AllowedCall& allowed) {
  std::vector<scmp_arg_cmp> conditions;
  conditions.reserve(allowed.all_of.size());
  for (const ArgumentIs& is : allowed.all_of) {
    conditions.push_back(
        {.arg = is.argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = is.mask, .datum_b = is.value});
  }
  const int failed =
      seccomp_rule_add_array(context, SCMP_ACT_ALLOW, allowed.call,
                             static_cast<unsigned>(conditions.size()), conditions.data());
  if (failed != 0) return fail_errno(text("filter for system call %d", allowed.call), -failed);
  return {};
}

Result<std::vector<sock_filter>> export_program(scmp_filter_ctx context) {
  const Fd file(::memfd_create("filter", MFD_CLOEXEC));
  if (!file) return fail_errno("make a file in memory for a filter");
  if (const int failed = seccomp_export_bpf(context, file.get()); failed != 0) {
    return fail_errno("build a system call filter", -failed);
  }
  struct stat info{};
  if (::fstat(file.get(), &info) != 0) return fail_errno("fstat");
  std::vector<sock_filter> program(static_cast<size_t>(info.st_size) / sizeof(sock_filter));
  if (::pread(file.get(), program.data(), static_cast<size_t>(info.st_size), 0) != info.st_size) {
    return fail_errno("read a system call filter back");
  }
  return program;
}

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
    case FilteredThread::kShell:
      return "shell";
  }
  return "unknown thread";
}

Result<Filter> Filter::compile(FilteredThread thread, int report) {
  if (report < 0 || report >= kMaxReport) return fail(text("report to descriptor %d", report));
  const Context context(seccomp_init(SCMP_ACT_TRAP), &seccomp_release);
  if (!context) return fail("build a system call filter: no memory");
  seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  // As a tree: when a filter is installed the kernel tries every call on it, which costs more than
  // all that a short life calls.
  constexpr uint32_t kTree = 2;
  seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, kTree);
  uint8_t priority = UINT8_MAX;  // the lists begin with what is called most
  for (const AllowedCall& allowed : kSanitizerCalls) {
    if (!kSanitized) break;
    if (auto done = add_call(context.get(), allowed); !done) return std::unexpected(done.error());
  }
  for (const AllowedCall& allowed : calls_allowed_in(thread)) {
    if (auto done = add_call(context.get(), allowed); !done) return std::unexpected(done.error());
    seccomp_syscall_priority(context.get(), allowed.call, priority--);
  }
  auto program = export_program(context.get());
  if (!program) return std::unexpected(program.error());
  mark_traps(*program, static_cast<uint16_t>((static_cast<unsigned>(thread) << kReportBits) |
                                             static_cast<unsigned>(report)));
  return Filter(std::move(*program));
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

std::string name_of_call(int call) {
  char* name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, call);
  const std::string known = name != nullptr ? name : "unknown";
  std::free(name);  // NOLINT: libseccomp's own allocation
  return text("%s (%d)", known.c_str(), call);
}

}  // namespace thimble

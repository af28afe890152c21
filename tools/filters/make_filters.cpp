// Builds the system call filters (vmm/jail/filter_tables.cpp) with libseccomp while thimble is
// built, and writes them as a C++ file: vmm/jail/filter_programs.h. Done at each start, it would be
// a tenth of what restoring a VM costs.
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "devices/fd.h"
#include "devices/result.h"
#include "devices/text.h"
#include "vmm/jail/filter.h"

namespace {

using thimble::AllowedCall;
using thimble::fail;
using thimble::fail_errno;
using thimble::Fd;
using thimble::FilteredThread;
using thimble::Result;
using thimble::text;

// Beyond every call that a Linux kernel has.
constexpr int kCalls = 1024;

// To look whether an object is there, UndefinedBehaviorSanitizer writes it into a pipe.
constexpr std::array kSanitizerCalls{AllowedCall{SYS_pipe2, "UBSan's check of a dynamic type"},
                                     AllowedCall{SYS_write, "the same"},
                                     AllowedCall{SYS_close, "the same"}};

using Context = std::unique_ptr<void, decltype(&seccomp_release)>;

Result<void> add_call(scmp_filter_ctx context, const AllowedCall& allowed) {
  std::vector<scmp_arg_cmp> conditions;
  conditions.reserve(allowed.all_of.size());
  for (const thimble::ArgumentIs& is : allowed.all_of) {
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

Result<std::vector<sock_filter>> compile(FilteredThread thread, bool sanitized) {
  const Context context(seccomp_init(SCMP_ACT_TRAP), &seccomp_release);
  if (!context) return fail("build a system call filter: no memory");
  seccomp_attr_set(context.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  // As a tree: when a filter is installed the kernel tries every call on it, which costs more than
  // all that a short life calls.
  constexpr uint32_t kTree = 2;
  seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, kTree);
  for (const AllowedCall& allowed : kSanitizerCalls) {
    if (!sanitized) break;
    if (auto done = add_call(context.get(), allowed); !done) return std::unexpected(done.error());
  }
  uint8_t priority = UINT8_MAX;  // the lists begin with what is called most
  for (const AllowedCall& allowed : thimble::calls_allowed_in(thread)) {
    if (auto done = add_call(context.get(), allowed); !done) return std::unexpected(done.error());
    seccomp_syscall_priority(context.get(), allowed.call, priority--);
  }
  return export_program(context.get());
}

void write_program(const char* name, const std::vector<sock_filter>& program) {
  std::printf("constexpr sock_filter %s[] = {\n", name);
  for (const sock_filter& step : program) {
    std::printf("    {%#x, %u, %u, %#x},\n", step.code, step.jt, step.jf, step.k);
  }
  std::printf("};\n\n");
}

Result<void> write_programs() {
  for (const FilteredThread thread : thimble::kFilteredThreads) {
    for (const bool sanitized : {false, true}) {
      auto program = compile(thread, sanitized);
      if (!program) return std::unexpected(program.error());
      const int number = static_cast<int>(thread);
      write_program(text(sanitized ? "kSanitized%d" : "kPlain%d", number).c_str(), *program);
    }
  }
  std::printf("}  // namespace\n\n");
  std::printf(
      "std::span<const sock_filter> filter_program(FilteredThread thread, bool sanitized) {\n");
  std::printf("  switch (static_cast<int>(thread)) {\n");
  for (const FilteredThread thread : thimble::kFilteredThreads) {
    const int number = static_cast<int>(thread);
    std::printf("    case %d:\n      if (sanitized) return kSanitized%d;\n      return kPlain%d;\n",
                number, number, number);
  }
  std::printf("  }\n  return {};\n}\n\n");
  return {};
}

void write_names() {
  std::printf("const char* call_name(int call) {\n  switch (call) {\n");
  for (int call = 0; call < kCalls; ++call) {
    char* name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, call);
    if (name != nullptr) std::printf("    case %d:\n      return \"%s\";\n", call, name);
    std::free(name);  // NOLINT: libseccomp's own allocation
  }
  std::printf("  }\n  return \"unknown\";\n}\n\n");
}

}  // namespace

int main() {
  std::printf("// Written by tools/filters/make_filters.cpp.\n");
  std::printf("#include \"vmm/jail/filter_programs.h\"\n\nnamespace thimble {\n\nnamespace {\n\n");
  if (auto done = write_programs(); !done) {
    std::fprintf(stderr, "make_filters: %s\n", done.error().message.c_str());
    return EXIT_FAILURE;
  }
  write_names();
  std::printf("}  // namespace thimble\n");
  return std::fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

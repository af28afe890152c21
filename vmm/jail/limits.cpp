// See limits.h.
#include "vmm/jail/limits.h"

#include <sys/resource.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstdio>

#include "devices/text.h"
#include "vmm/jail/sanitized.h"

namespace thimble {

namespace {

// 1,023 vsock streams and as many clients that have not yet said where to, besides the machine's
// own.
constexpr rlim_t kDescriptors = 4096;
// vCPUs, event loop, VM channel, console, one disk worker each, and the kernel's threads of
// io_uring.
constexpr rlim_t kThreads = 128;
// Thread stacks and malloc's reservations; address space, not memory.
constexpr rlim_t kOwnAddressSpace = rlim_t{4} << 30;
// What the process can fill with its own: 2 MiB as a rule, and the buffers of 1,023 streams (256
// KiB each) at most. This bounds its memory where no cgroup does: all it may map is private.
constexpr rlim_t kOwnData = rlim_t{512} << 20;
constexpr rlim_t kLockedMemory = rlim_t{1} << 20;

constexpr bool kHugeAddressSpace = kSanitized;  // its shadow memory

// Since Linux 5.14 a user's processes are counted for each user namespace.
bool counts_per_namespace() {
  utsname host{};
  unsigned major = 0;
  unsigned minor = 0;
  if (::uname(&host) != 0 || std::sscanf(host.release, "%u.%u", &major, &minor) != 2) return false;
  return major > 5 || (major == 5 && minor >= 14);
}

Result<void> limit(decltype(RLIMIT_AS) resource, const char* name, rlim_t max) {
  rlimit now{};
  ::getrlimit(resource, &now);
  const rlim_t value = std::min(max, now.rlim_max);
  const rlimit wanted{.rlim_cur = value, .rlim_max = value};
  if (::setrlimit(resource, &wanted) != 0) return fail_errno(text("setrlimit %s", name));
  return {};
}

}  // namespace

Result<void> set_limits(const Limits& limits, bool own_user_namespace) {
  struct Limit {
    decltype(RLIMIT_AS) resource;
    const char* name;
    rlim_t max;
  };
  const Limit wanted[] = {
      {RLIMIT_CORE, "CORE", 0},
      {RLIMIT_NOFILE, "NOFILE", kDescriptors},
      {RLIMIT_FSIZE, "FSIZE", limits.file_bytes},
      {RLIMIT_MEMLOCK, "MEMLOCK", kLockedMemory},
      {RLIMIT_MSGQUEUE, "MSGQUEUE", 0},
      {RLIMIT_RTPRIO, "RTPRIO", 0},
      // Otherwise all processes of the user would count.
      {RLIMIT_NPROC, "NPROC",
       own_user_namespace && counts_per_namespace() ? kThreads : RLIM_INFINITY},
      {RLIMIT_AS, "AS", kHugeAddressSpace ? RLIM_INFINITY : limits.memory_bytes + kOwnAddressSpace},
      {RLIMIT_DATA, "DATA", kHugeAddressSpace ? RLIM_INFINITY : limits.memory_bytes + kOwnData},
  };
  for (const Limit& one : wanted) {
    if (auto done = limit(one.resource, one.name, one.max); !done) return done;
  }
  return {};
}

}  // namespace thimble

#include "guest-init/limits.h"

#include <sys/resource.h>

#include "guest-init/small_file.h"

namespace thimble::init {

namespace {

struct Limit {
  int resource;
  rlim_t soft;
  rlim_t hard;
};

constexpr rlim_t kMebibyte = rlim_t{1} << 20;

// Those that are absent have no limit by the kernel's own choice.
constexpr Limit kLimits[] = {
    {RLIMIT_NOFILE, 1048576, 1048576},
    {RLIMIT_NPROC, RLIM_INFINITY, RLIM_INFINITY},
    {RLIMIT_SIGPENDING, 65536, 65536},
    {RLIMIT_STACK, 8 * kMebibyte, RLIM_INFINITY},
    {RLIMIT_MEMLOCK, 8 * kMebibyte, 8 * kMebibyte},
    {RLIMIT_CORE, 0, RLIM_INFINITY},
};

// The kernel derives these from the machine's memory, as if it were shared by many.
constexpr const char* kOfTheKernel[][2] = {
    {"/proc/sys/fs/file-max", "9223372036854775807"},
    {"/proc/sys/kernel/threads-max", "32768"},
    {"/proc/sys/fs/inotify/max_user_watches", "1048576"},
    {"/proc/sys/fs/inotify/max_user_instances", "1024"},
    {"/proc/sys/fs/epoll/max_user_watches", "1048576"},
};

}  // namespace

void set_limits_of_all() {
  for (const auto& [resource, soft, hard] : kLimits) {
    const rlimit limit = {soft, hard};
    setrlimit(resource, &limit);
  }
  for (const auto& [path, value] : kOfTheKernel) {
    if (!write_file(path, value)) continue;
  }
}

}  // namespace thimble::init

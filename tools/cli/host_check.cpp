// See host_check.h.
#include "tools/cli/host_check.h"

#include <fcntl.h>
#include <sys/sysinfo.h>

#include <cstring>

#include "devices/fd.h"
#include "devices/text.h"
#include "tools/cli/units.h"

namespace thimble::cli {

namespace {
constexpr const char* kLabHint = ": use the lab: tools/lab run -- build/bin/thimble run …";
}

Result<void> check_host() {
  const Fd kvm(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  if (kvm) return {};
  if (errno == EACCES || errno == EPERM) {
    return fail(
        "open /dev/kvm: permission denied: add yourself to group kvm, or use the lab: "
        "tools/lab run -- build/bin/thimble run …");
  }
  return fail(text("open /dev/kvm: %s: this host cannot run a VM", std::strerror(errno)) +
              kLabHint);
}

Result<void> check_memory(uint64_t bytes) {
  struct sysinfo info{};
  if (::sysinfo(&info) != 0) return {};
  const uint64_t total = static_cast<uint64_t>(info.totalram) * info.mem_unit;
  if (bytes <= total) return {};
  return fail("--memory " + format_size(bytes) + ": this host has " +
              text("%lluM", static_cast<unsigned long long>(total >> 20)) + " of memory");
}

}  // namespace thimble::cli

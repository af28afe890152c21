// See host_check.h.
#include "tools/cli/host_check.h"

#include <sys/sysinfo.h>

#include "devices/text.h"
#include "tools/cli/guest_files.h"
#include "tools/cli/units.h"
#include "tools/doctor/linux_verdict.h"

namespace thimble::cli {

Result<void> check_host() { return doctor::linux_verdict(cache_directory()); }

Result<void> check_memory(uint64_t bytes) {
  struct sysinfo info{};
  if (::sysinfo(&info) != 0) return {};
  const uint64_t total = static_cast<uint64_t>(info.totalram) * info.mem_unit;
  if (bytes <= total) return {};
  return fail("--memory " + format_size(bytes) + ": this host has " +
              text("%lluM", static_cast<unsigned long long>(total >> 20)) + " of memory");
}

}  // namespace thimble::cli

// See read_file.h.
#include "vmm/load/read_file.h"

#include <unistd.h>

#include <cerrno>
#include <limits>

namespace thimble {

bool read_at(int fd, uint64_t offset, std::span<uint8_t> out) {
  while (!out.empty()) {
    if (offset > static_cast<uint64_t>(std::numeric_limits<off_t>::max())) return false;
    const ssize_t got = pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    out = out.subspan(static_cast<size_t>(got));
    offset += static_cast<uint64_t>(got);
  }
  return true;
}

}  // namespace thimble

// See read_file.h.
#include "vmm/load/read_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <limits>

#include "devices/text.h"

namespace thimble {

Result<Fd> open_regular(const char* what, const ForeignFile& file) {
  const char* path = file.path.c_str();
  Fd fd(file.given >= 0 ? ::fcntl(file.given, F_DUPFD_CLOEXEC, 0)
                        : ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return fail_errno(text("open %s %s", what, path));
  struct stat info{};
  if (fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return fail(text("%s %s: not a regular file", what, path));
  }
  return fd;
}

Result<Fd> open_image(const std::string& path) {
  auto file = open_regular("image", {path});
  if (file && ::fcntl(file->get(), F_SETFL, 0) != 0) return fail_errno("open image " + path);
  return file;
}

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

// See disk_option.h.
#include "tools/cli/disk_option.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "devices/base/file_lock.h"

namespace thimble::cli {

namespace {

// A FIFO that nobody writes to would be waited for: what is no disk is refused before it is used.
Result<Fd> open_file(const std::string& file, int access) {
  Fd opened(::open(file.c_str(), access | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  // ENXIO: a socket, or a FIFO opened to write.
  if (!opened && errno != ENXIO) return fail_errno("--disk " + file);
  struct stat info{};
  const bool is_disk = opened && ::fstat(opened.get(), &info) == 0 &&
                       (S_ISREG(info.st_mode) || S_ISBLK(info.st_mode));
  if (!is_disk) return fail("--disk " + file + ": not a regular file or block device");
  ::fcntl(opened.get(), F_SETFL, access);
  return opened;
}

Result<void> lock_disk(const Fd& opened, const std::string& file, bool read_only) {
  const auto locked = lock_file(opened.get(), {.shared = read_only}, file);
  if (!locked) return fail("--disk " + file + ": " + locked.error().message);
  if (*locked) return {};
  if (read_only) {
    return fail("--disk " + file + ": a VM writes to it, or another --disk of this command does: " +
                "wait for its end, or give this one a copy");
  }
  return fail("--disk " + file +
              ":rw: another VM uses it, or another --disk of this command does: " +
              "only one may when it writes; end that one, or give this one a copy");
}

}  // namespace

Result<Disk> open_disk(std::string option) {
  Disk disk;
  if (option.ends_with(":rw")) disk.read_only = false;
  if (option.ends_with(":ro") || option.ends_with(":rw")) option.resize(option.size() - 3);
  auto opened = open_file(option, disk.read_only ? O_RDONLY : O_RDWR);
  if (!opened) return std::unexpected(opened.error());
  if (auto locked = lock_disk(*opened, option, disk.read_only); !locked) {
    return std::unexpected(locked.error());
  }
  disk.file = std::move(*opened);
  disk.name = option.substr(option.rfind('/') + 1);
  return disk;
}

}  // namespace thimble::cli

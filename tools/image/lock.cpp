// flock with unlink on release.
#include "tools/image/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

namespace thimble::image {
namespace {

// False when the file was unlinked by the previous owner between our open and our flock: that lock
// protects nothing any more.
bool still_linked(int fd, const std::filesystem::path& path) {
  struct stat held{};
  struct stat named{};
  return ::fstat(fd, &held) == 0 && ::stat(path.c_str(), &named) == 0 &&
         held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

}  // namespace

Result<std::optional<FileLock>> FileLock::try_take(const std::filesystem::path& path) {
  for (;;) {
    Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!file) return fail_errno("open lock file " + path.string());
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) return std::optional<FileLock>();
      if (errno == EINTR) continue;
      return fail_errno("lock " + path.string());
    }
    if (!still_linked(file.get(), path)) continue;
    FileLock lock(path, std::move(file));
    lock.record_owner();
    return std::optional<FileLock>(std::move(lock));
  }
}

FileLock::~FileLock() {
  if (file_) ::unlink(path_.c_str());
}

void FileLock::record_owner() {
  const std::string text = std::to_string(::getpid());
  if (::ftruncate(fd(), 0) == 0 && ::pwrite(fd(), text.data(), text.size(), 0) < 0) {
    // Only a message loses its number.
  }
}

void FileLock::leave_to_child() { file_.reset(); }

pid_t lock_owner(const std::filesystem::path& path) {
  const Result<std::string> text = read_file(path, 64);
  return text ? static_cast<pid_t>(std::strtol(text->c_str(), nullptr, 10)) : 0;
}

}  // namespace thimble::image

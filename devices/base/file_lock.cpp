// See file_lock.h.
#include "devices/base/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace thimble {

namespace {

constexpr size_t kLongestNumber = 64;

}  // namespace

FileResult<bool> lock_file(int fd, LockKind kind, const std::string& path) {
  const int how = (kind.shared ? LOCK_SH : LOCK_EX) | (kind.wait ? 0 : LOCK_NB);
  while (::flock(fd, how) != 0) {
    if (errno == EWOULDBLOCK) return false;
    if (errno != EINTR) return file_fault("lock " + path);
  }
  return true;
}

void unlock_file(int fd) { ::flock(fd, LOCK_UN); }

FileResult<std::optional<FileLock>> FileLock::take(const OwnedFolder& folder, std::string name) {
  for (;;) {
    auto file = folder.write_to(name);
    if (!file) return std::unexpected(file.error());
    const auto locked = lock_file(file->get(), {}, folder.path_of(name));
    if (!locked) return std::unexpected(locked.error());
    if (!*locked) return std::nullopt;
    // Whoever held it may have removed it before we had it: then it is nobody's lock any more.
    if (!folder.is_still(file->get(), name)) continue;
    FileLock taken(folder.fd(), std::move(name), std::move(*file));
    taken.record_holder();
    return taken;
  }
}

FileLock FileLock::adopt(const OwnedFolder& folder, std::string name, Fd file) {
  FileLock adopted(folder.fd(), std::move(name), std::move(file));
  adopted.record_holder();
  return adopted;
}

FileLock::~FileLock() {
  if (file_) ::unlinkat(folder_, name_.c_str(), 0);
}

void FileLock::record_holder() const {
  const std::string text = std::to_string(::getpid());
  if (::ftruncate(fd(), 0) == 0 && ::pwrite(fd(), text.data(), text.size(), 0) < 0) {
    // Only a message loses its number.
  }
}

pid_t lock_holder(const OwnedFolder& folder, const std::string& name) {
  const auto text = folder.content(name, kLongestNumber);
  return text ? static_cast<pid_t>(std::strtol(text->c_str(), nullptr, 10)) : 0;
}

FileResult<bool> lock_folder(const OwnedFolder& folder) {
  return lock_file(folder.fd(), {}, folder.path());
}

FileResult<std::optional<OwnedFolder>> lock_folder(const OwnedFolder& parent,
                                                   const std::string& name) {
  auto folder = parent.folder(name);
  if (!folder && folder.error().kind == FileFault::Kind::kMissing) return std::nullopt;
  if (!folder) return std::unexpected(folder.error());
  const auto locked = lock_folder(*folder);
  if (!locked) return std::unexpected(locked.error());
  // Between the two calls, one who swept may have removed it.
  if (!*locked || !parent.is_still(folder->fd(), name)) return std::nullopt;
  return std::optional(std::move(*folder));
}

}  // namespace thimble

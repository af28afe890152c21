// See draft_lock.h.
#include "pool/template/draft_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>

namespace thimble {

Fd lock_draft(const std::string& folder) {
  Fd held(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!held) return held;
  const bool locked = ::flock(held.get(), LOCK_EX | LOCK_NB) == 0;
  const int why = locked ? ENOENT : errno;
  // Between the two calls, one who swept may have removed it.
  if (locked && is_still(held, folder)) return held;
  held.reset();
  errno = why;
  return held;
}

bool is_still(const Fd& fd, const std::string& path) {
  struct stat opened{};
  struct stat named{};
  return ::fstat(fd.get(), &opened) == 0 && ::lstat(path.c_str(), &named) == 0 &&
         opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

}  // namespace thimble

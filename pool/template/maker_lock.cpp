// See maker_lock.h.
#include "pool/template/maker_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "pool/template/draft_lock.h"

namespace thimble {

Result<std::optional<MakerLock>> MakerLock::take(const std::filesystem::path& path) {
  for (;;) {
    Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR));
    if (!file) return fail_errno("make " + path.string());
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) return std::nullopt;
      return fail_errno("lock " + path.string());
    }
    // Whoever held it may have removed it before we had it: then it is nobody's lock any more.
    if (is_still(file, path)) return MakerLock(path, std::move(file));
  }
}

MakerLock::~MakerLock() {
  if (held_) ::unlink(path_.c_str());
}

}  // namespace thimble

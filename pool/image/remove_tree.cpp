// Removing a tree whatever its maker made of it: folders that may not be entered, and paths too
// long to be said. So it goes by descriptors, and what is very deep is moved up first.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "pool/image/files.h"

namespace thimble::image {
namespace {

// Each has a descriptor.
constexpr int kLevels = 100;

Descriptor open_folder(int above, const char* name) {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  Descriptor folder(::openat(above, name, kFlags));
  if (folder || errno != EACCES) return folder;
  if (::fchmodat(above, name, 0700, 0) != 0) return {};
  return Descriptor(::openat(above, name, kFlags));
}

class Removal {
 public:
  explicit Removal(const Descriptor& top) : top_(top.get()) {}

  void run() {
    do {
      moved_ = false;
      empty(top_, 0);
    } while (moved_);
  }

 private:
  void empty(int folder, int level) {
    // Without write permission (it occurs in npm packages) nothing could be taken out.
    ::fchmod(folder, 0700);
    const int listed = ::dup(folder);
    DIR* listing = listed < 0 ? nullptr : ::fdopendir(listed);
    if (listing == nullptr) return;
    ::rewinddir(listing);
    while (const dirent* entry = ::readdir(listing)) {
      const std::string_view name(entry->d_name);
      if (name != "." && name != "..") remove(folder, entry->d_name, level);
    }
    ::closedir(listing);
  }

  void remove(int folder, const char* name, int level) {
    if (::unlinkat(folder, name, 0) == 0 || ::unlinkat(folder, name, AT_REMOVEDIR) == 0) return;
    if (level == kLevels) {
      const std::string up = "thimble-deep-" + std::to_string(moves_++);
      moved_ = ::renameat(folder, name, top_, up.c_str()) == 0 || moved_;
      return;
    }
    {
      const Descriptor below = open_folder(folder, name);
      if (!below) return;
      empty(below.get(), level + 1);
    }
    ::unlinkat(folder, name, AT_REMOVEDIR);
  }

  int top_;
  bool moved_ = false;
  unsigned moves_ = 0;
};

}  // namespace

void remove_tree(const std::filesystem::path& path) {
  if (::unlink(path.c_str()) == 0) return;
  {
    const Descriptor top = open_folder(AT_FDCWD, path.c_str());
    if (!top) return;
    Removal(top).run();
  }
  ::rmdir(path.c_str());
}

}  // namespace thimble::image

// See usage.h.
#include "tools/image/jail/usage.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string_view>

#include "pool/image/files.h"

namespace thimble::image {
namespace {

// Each level holds a descriptor open. Real packages have some thirty.
constexpr int kDeepest = 200;
constexpr std::uint64_t kBlock = 512;

constexpr int kFolderFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

class Measuring {
 public:
  explicit Measuring(const BuildLimits& limits) : limits_(limits) {}

  // Takes the descriptor of a folder.
  void visit(int folder, int depth) {
    DIR* listing = ::fdopendir(folder);
    if (listing == nullptr) {
      ::close(folder);
      return;
    }
    while (!usage_.exceeds(limits_)) {
      const dirent* entry = ::readdir(listing);
      if (entry == nullptr) break;
      const std::string_view name(entry->d_name);
      if (name != "." && name != "..") count(folder, entry->d_name, depth);
    }
    ::closedir(listing);
  }

  const Usage& usage() const { return usage_; }

 private:
  void count(int folder, const char* name, int depth) {
    struct stat status{};
    if (::fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) != 0) return;
    ++usage_.files;
    // A file with several names is counted once in all.
    const std::uint64_t names =
        status.st_nlink > 1 && !S_ISDIR(status.st_mode) ? status.st_nlink : 1;
    usage_.bytes += static_cast<std::uint64_t>(status.st_blocks) * kBlock / names;
    if (!S_ISDIR(status.st_mode)) return;
    usage_.too_deep = usage_.too_deep || depth >= kDeepest;
    if (usage_.too_deep) return;
    const int below = ::openat(folder, name, kFolderFlags);
    if (below >= 0) visit(below, depth + 1);
  }

  const BuildLimits& limits_;
  Usage usage_;
};

}  // namespace

Usage measure(const std::filesystem::path& folder, const BuildLimits& limits) {
  Measuring measuring(limits);
  const int top = ::open(folder.c_str(), kFolderFlags);
  if (top >= 0) measuring.visit(top, 0);
  return measuring.usage();
}

}  // namespace thimble::image

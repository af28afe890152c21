// See places.h.
#include "pool/image/command/places.h"

#include <algorithm>
#include <array>

#include "pool/image/files.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

template <std::size_t N>
bool contains(const std::array<const char*, N>& list, const fs::path& path) {
  return std::ranges::any_of(list, [&](const char* entry) { return path == entry; });
}

}  // namespace

bool is_system(const fs::path& path) {
  constexpr std::array<const char*, 12> kSystem = {"/bin", "/boot",  "/dev",   "/etc",
                                                   "/lib", "/lib32", "/lib64", "/proc",
                                                   "/run", "/sbin",  "/sys",   "/usr"};
  return std::ranges::any_of(kSystem, [&](const char* root) { return is_within(path, root); });
}

bool is_shared_place(const fs::path& path) {
  constexpr std::array<const char*, 22> kShared = {"/",
                                                   "/home",
                                                   "/media",
                                                   "/mnt",
                                                   "/opt",
                                                   "/root",
                                                   "/srv",
                                                   "/tmp",
                                                   "/var",
                                                   "/var/cache",
                                                   "/var/lib",
                                                   "/var/tmp",
                                                   "/usr/bin",
                                                   "/usr/include",
                                                   "/usr/lib",
                                                   "/usr/local",
                                                   "/usr/local/bin",
                                                   "/usr/local/lib",
                                                   "/usr/local/share",
                                                   "/usr/sbin",
                                                   "/usr/share",
                                                   "/usr/src"};
  return contains(kShared, path) || path.parent_path() == "/home";
}

bool Places::is_forbidden(const fs::path& directory) const {
  if (!home.empty() && is_within(home, directory)) return true;
  if (is_shared_place(directory)) return true;
  // Of the system's directories only what lies below /usr can be a package.
  return is_system(directory) && (directory == "/usr" || !is_within(directory, "/usr"));
}

bool Places::is_collection(const fs::path& directory) const {
  constexpr std::array<const char*, 9> kNames = {"Desktop",   "Documents", "Downloads",
                                                 "Music",     "Pictures",  "Public",
                                                 "Templates", "Videos",    "bin"};
  if (home.empty() || !is_within(directory, home)) return false;
  const fs::path below = directory.lexically_relative(home);
  // ~/.ssh, ~/.config/anything.
  if (below.begin()->string().starts_with('.')) return true;
  return directory.parent_path() == home && contains(kNames, directory.filename());
}

}  // namespace thimble::image

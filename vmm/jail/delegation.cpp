// See delegation.h.
#include "vmm/jail/delegation.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "devices/fd.h"

namespace thimble {

namespace {

// As the unit's DelegateSubgroup= names it.
constexpr const char* kOwnChild = "/daemon";

std::string read_small(const std::string& path) {
  std::array<char, 4096> bytes{};
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const ssize_t got = file ? ::read(file.get(), bytes.data(), bytes.size()) : -1;
  return {bytes.data(), got > 0 ? static_cast<size_t>(got) : 0};
}

bool has_word(std::string_view words, std::string_view word) {
  for (size_t at = 0; at < words.size();) {
    const size_t end = std::min(words.find_first_of(" \n", at), words.size());
    if (words.substr(at, end - at) == word) return true;
    at = end + 1;
  }
  return false;
}

// The directory of this process's own cgroup, or nothing without cgroup v2 or in its root.
std::string own_directory() {
  constexpr const char* kRoot = "/sys/fs/cgroup";
  struct statfs info{};
  if (::statfs(kRoot, &info) != 0 || info.f_type != CGROUP2_SUPER_MAGIC) return "";
  const std::string lines = read_small("/proc/self/cgroup");
  const size_t own = lines.starts_with("0::") ? 0 : lines.find("\n0::");
  if (own == std::string::npos) return "";
  const size_t start = lines.find('/', own);
  const std::string path = lines.substr(start, lines.find('\n', start) - start);
  return path == "/" ? "" : kRoot + path;
}

std::string above(const std::string& directory) {
  return directory.substr(0, directory.rfind('/'));
}

bool is_marked(const std::string& directory) {
  for (const char* mark : {"user.delegate", "trusted.delegate"}) {
    char value = 0;
    if (::getxattr(directory.c_str(), mark, &value, 1) == 1 && value == '1') return true;
  }
  return false;
}

bool gives_controllers(const std::string& directory) {
  const std::string on = read_small(directory + "/cgroup.subtree_control");
  return has_word(on, "memory") || has_word(on, "pids");
}

// systemd before 254 knows no DelegateSubgroup=. A group with processes can give no controllers.
bool move_into_child_of(const std::string& directory) {
  const std::string child = directory + kOwnChild;
  if (::mkdir(child.c_str(), S_IRWXU) != 0 && errno != EEXIST) return false;
  return write_group_file(child + "/cgroup.procs", "0");
}

}  // namespace

bool write_group_file(const std::string& path, std::string_view content) {
  const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  return file && ::write(file.get(), content.data(), content.size()) ==
                     static_cast<ssize_t>(content.size());
}

std::string place_for_cgroups() {
  const std::string own = own_directory();
  if (own.empty()) return "";
  const std::string place = above(own);
  const bool ours = is_marked(place) && ::access((place + "/cgroup.procs").c_str(), W_OK) == 0;
  return ours && gives_controllers(place) ? place : "";
}

void divide_delegated_cgroup() {
  const std::string own = own_directory();
  if (own.empty()) return;
  const bool inside = own.ends_with(kOwnChild);
  if (!inside && !move_into_child_of(own)) return;
  const std::string place = inside ? above(own) : own;
  if (!is_marked(place)) ::setxattr(place.c_str(), "user.delegate", "1", 1, 0);
  // One by one: each that is there is worth having.
  for (const char* controller : {"+memory", "+pids"}) {
    write_group_file(place + "/cgroup.subtree_control", controller);
  }
}

}  // namespace thimble

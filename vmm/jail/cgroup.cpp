// See cgroup.h.
#include "vmm/jail/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string_view>

#include "devices/text.h"

namespace thimble {

namespace {

// thimble-vm-PID-NUMBER: the pid of the thimble that made it.
constexpr const char* kPrefix = "thimble-vm-";

// Page tables, the VMM itself, and what the kernel keeps for the VM.
constexpr uint64_t kMemoryOnTop = uint64_t{64} << 20;
constexpr unsigned kMaxTasks = 128;

std::string read_small(const std::string& path) {
  std::array<char, 4096> bytes{};
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const ssize_t got = file ? ::read(file.get(), bytes.data(), bytes.size()) : -1;
  return {bytes.data(), got > 0 ? static_cast<size_t>(got) : 0};
}

bool write_small(const std::string& path, std::string_view content) {
  const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  return file && ::write(file.get(), content.data(), content.size()) ==
                     static_cast<ssize_t>(content.size());
}

bool has_word(std::string_view words, std::string_view word) {
  for (size_t at = 0; at < words.size();) {
    const size_t end = std::min(words.find_first_of(" \n", at), words.size());
    if (words.substr(at, end - at) == word) return true;
    at = end + 1;
  }
  return false;
}

// The directory above this process's own cgroup, or nothing without cgroup v2.
std::string directory_above() {
  constexpr const char* kRoot = "/sys/fs/cgroup";
  struct statfs info{};
  if (::statfs(kRoot, &info) != 0 || info.f_type != CGROUP2_SUPER_MAGIC) return "";
  const std::string lines = read_small("/proc/self/cgroup");
  const size_t own = lines.starts_with("0::") ? 0 : lines.find("\n0::");
  if (own == std::string::npos) return "";
  const size_t start = lines.find('/', own);
  const std::string path = lines.substr(start, lines.find('\n', start) - start);
  return path == "/" ? "" : kRoot + path.substr(0, path.rfind('/'));
}

bool is_marked(const std::string& directory) {
  for (const char* mark : {"user.delegate", "trusted.delegate"}) {
    char value = 0;
    if (::getxattr(directory.c_str(), mark, &value, 1) == 1 && value == '1') return true;
  }
  return false;
}

bool delegated(const std::string& directory) {
  if (!is_marked(directory)) return false;
  if (::access((directory + "/cgroup.procs").c_str(), W_OK) != 0) return false;
  const std::string on = read_small(directory + "/cgroup.subtree_control");
  return has_word(on, "memory") || has_word(on, "pids");
}

// Groups of thimbles that were killed before they could tidy up.
void remove_leftovers(const std::string& directory) {
  DIR* listing = ::opendir(directory.c_str());
  if (listing == nullptr) return;
  while (const dirent* entry = ::readdir(listing)) {
    int owner = 0;
    if (std::sscanf(entry->d_name, "thimble-vm-%d-", &owner) != 1) continue;
    if (::kill(owner, 0) == 0 || errno != ESRCH) continue;
    ::rmdir((directory + "/" + entry->d_name).c_str());
  }
  ::closedir(listing);
}

}  // namespace

Result<Cgroup> Cgroup::make(uint64_t memory_bytes) {
  const std::string parent = directory_above();
  if (parent.empty() || !delegated(parent)) return Cgroup();
  remove_leftovers(parent);
  std::string path;
  int number = 0;
  do {
    path = text("%s/%s%d-%d", parent.c_str(), kPrefix, ::getpid(), number++);
  } while (::mkdir(path.c_str(), S_IRWXU) != 0 && errno == EEXIST);
  Fd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return fail_errno("make " + path);
  Cgroup made(std::move(directory), path);
  const bool memory = ::access((path + "/memory.max").c_str(), F_OK) == 0;
  const bool tasks = ::access((path + "/pids.max").c_str(), F_OK) == 0;
  if (memory && !write_small(path + "/memory.max", text("%lu", memory_bytes + kMemoryOnTop))) {
    return fail_errno("limit the memory of " + path);
  }
  if (tasks && !write_small(path + "/pids.max", text("%u", kMaxTasks))) {
    return fail_errno("limit the processes of " + path);
  }
  return made;
}

Cgroup& Cgroup::operator=(Cgroup&& other) noexcept {
  std::swap(directory_, other.directory_);
  std::swap(path_, other.path_);
  return *this;
}

Cgroup::~Cgroup() {
  if (!path_.empty()) ::rmdir(path_.c_str());
}

}  // namespace thimble

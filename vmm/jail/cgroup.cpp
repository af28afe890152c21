// See cgroup.h.
#include "vmm/jail/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "devices/text.h"
#include "vmm/jail/delegation.h"

namespace thimble {

namespace {

// thimble-vm-PID-NUMBER: the pid of the thimble that made it.
constexpr const char* kPrefix = "thimble-vm-";

// Page tables, the VMM itself, and what the kernel keeps for the VM.
constexpr uint64_t kMemoryOnTop = uint64_t{64} << 20;
constexpr unsigned kMaxTasks = 128;

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
  const std::string parent = place_for_cgroups();
  if (parent.empty()) return Cgroup();
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
  if (memory && !write_group_file(path + "/memory.max", text("%lu", memory_bytes + kMemoryOnTop))) {
    return fail_errno("limit the memory of " + path);
  }
  if (tasks && !write_group_file(path + "/pids.max", text("%u", kMaxTasks))) {
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

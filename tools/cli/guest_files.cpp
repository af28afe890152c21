// See guest_files.h.
#include "tools/cli/guest_files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include "devices/text.h"
#include "tools/cli/embedded_init.h"

namespace thimble::cli {

namespace {

namespace fs = std::filesystem;

Result<fs::path> readable(const fs::path& path, std::string_view what) {
  if (::access(path.c_str(), R_OK) == 0) return path;
  return fail_errno(std::string(what) + " " + path.string());
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// The newest kernel in the cache: a changed configuration makes a new directory beside the old
// ones.
fs::path newest_cached_kernel(const fs::path& directory) {
  fs::path newest;
  fs::file_time_type newest_time{};
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    const fs::path candidate = entry.path() / "vmlinux";
    std::error_code missing;
    const auto time = fs::last_write_time(candidate, missing);
    if (missing || (!newest.empty() && time <= newest_time)) continue;
    newest = candidate;
    newest_time = time;
  }
  return newest;
}

}  // namespace

fs::path cache_directory() {
  if (const std::string cache = variable("THIMBLE_CACHE"); !cache.empty()) return cache;
  if (const std::string xdg = variable("XDG_CACHE_HOME"); !xdg.empty())
    return fs::path(xdg) / "thimble";
  const std::string home = variable("HOME");
  return home.empty() ? fs::path() : fs::path(home) / ".cache" / "thimble";
}

Result<fs::path> find_kernel(const std::string& given) {
  if (!given.empty()) return readable(given, "--kernel");
  if (const std::string named = variable("THIMBLE_KERNEL"); !named.empty()) {
    return readable(named, "kernel named by THIMBLE_KERNEL:");
  }
  const fs::path directory = cache_directory() / "kernel";
  const fs::path current = directory / "current" / "vmlinux";
  fs::path kernel =
      ::access(current.c_str(), R_OK) == 0 ? current : newest_cached_kernel(directory);
  if (!kernel.empty()) return kernel;
  return fail("no guest kernel in " + directory.string() +
              ": build it with `tools/kernel build`, or name one with --kernel FILE");
}

Result<Fd> init_file() {
  Fd file(::memfd_create("thimble-init", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file) return fail_errno("make a file in memory for guest-init");
  for (auto left = embedded_init(); !left.empty();) {
    const ssize_t n = ::write(file.get(), left.data(), left.size());
    if (n <= 0) return fail_errno("write guest-init to memory");
    left = left.subspan(static_cast<size_t>(n));
  }
  ::lseek(file.get(), 0, SEEK_SET);
  ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
  return file;
}

std::string path_of(const Fd& fd) { return text("/proc/self/fd/%d", fd.get()); }

}  // namespace thimble::cli

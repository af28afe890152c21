// See guest_files.h.
#include "pool/launch/guest_files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include "devices/base/owned_folder.h"
#include "devices/text.h"
#include "pool/launch/embedded_init.h"

namespace thimble::launch {

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

// Whoever makes a guest's kernel has all that goes into it: one counts only where nobody else could
// have put it.

// PREFIX/bin/thimble has PREFIX/lib/thimble.
fs::path installed_files(const fs::path& program) {
  return program.parent_path().parent_path() / "lib" / "thimble";
}

FileResult<fs::path> installed_kernel(const fs::path& program) {
  const fs::path place = installed_files(program);
  const auto folder = OwnedFolder::open(
      place, {.others_may_read = true, .if_foreign = "name a kernel with --kernel FILE"});
  if (!folder) return std::unexpected(folder.error());
  if (const auto file = folder->read("vmlinux"); !file) return std::unexpected(file.error());
  return place / "vmlinux";
}

FileResult<OwnedFolder> kernels_of(const fs::path& cache) {
  const auto folder = OwnedFolder::open(
      cache, {.others_may_read = true,
              .may_be_link = true,
              .if_foreign = "set THIMBLE_CACHE to a folder of your own, or name a kernel with "
                            "--kernel FILE"});
  if (!folder) return std::unexpected(folder.error());
  return folder->folder("kernel");
}

// What tools/kernel built last: "current" is a link to a folder beside it.
std::string current_kernel(const OwnedFolder& kernels) {
  std::array<char, 256> name{};
  const ssize_t n = ::readlinkat(kernels.fd(), "current", name.data(), name.size());
  return {name.data(), static_cast<size_t>(std::max<ssize_t>(n, 0))};
}

FileResult<Fd> open_kernel(const OwnedFolder& kernels, const std::string& name) {
  const auto folder = kernels.folder(name);
  if (!folder) return std::unexpected(folder.error());
  return folder->read("vmlinux");
}

// A changed configuration makes a new folder beside the old ones.
std::string newest_kernel(const OwnedFolder& kernels) {
  std::string newest;
  timespec newest_time{};
  const auto names = kernels.names();
  if (!names) return newest;
  for (const std::string& name : *names) {
    const auto file = open_kernel(kernels, name);
    struct stat info{};
    if (!file || ::fstat(file->get(), &info) != 0) continue;
    const bool newer = std::pair(info.st_mtim.tv_sec, info.st_mtim.tv_nsec) >
                       std::pair(newest_time.tv_sec, newest_time.tv_nsec);
    if (!newest.empty() && !newer) continue;
    newest = name;
    newest_time = info.st_mtim;
  }
  return newest;
}

FileResult<fs::path> cached_kernel(const fs::path& cache) {
  const auto kernels = kernels_of(cache);
  if (!kernels) return std::unexpected(kernels.error());
  std::string name = current_kernel(*kernels);
  if (name.empty()) name = newest_kernel(*kernels);
  if (name.empty()) return file_fault("find a kernel", ENOENT);
  const auto file = open_kernel(*kernels, name);
  if (!file) return std::unexpected(file.error());
  return fs::path(kernels->path_of(name)) / "vmlinux";
}

}  // namespace

fs::path cache_directory() {
  if (const std::string cache = variable("THIMBLE_CACHE"); !cache.empty()) return cache;
  if (const std::string xdg = variable("XDG_CACHE_HOME"); !xdg.empty())
    return fs::path(xdg) / "thimble";
  const std::string home = variable("HOME");
  return home.empty() ? fs::path() : fs::path(home) / ".cache" / "thimble";
}

fs::path this_program() {
  std::error_code missing;
  return fs::read_symlink("/proc/self/exe", missing);
}

Result<fs::path> find_kernel(const std::string& given, const fs::path& program) {
  if (!given.empty()) return readable(given, "--kernel");
  if (const std::string named = variable("THIMBLE_KERNEL"); !named.empty()) {
    return readable(named, "kernel named by THIMBLE_KERNEL:");
  }
  const auto missing = [](const FileResult<fs::path>& kernel) {
    return !kernel && kernel.error().kind == FileFault::Kind::kMissing;
  };
  auto kernel = installed_kernel(program);
  if (missing(kernel)) kernel = cached_kernel(cache_directory());
  if (kernel) return std::move(*kernel);
  if (!missing(kernel)) return std::unexpected(kernel.error());
  return fail(ErrorKind::kMissing,
              "no guest kernel in " + installed_files(program).string() + " or " +
                  (cache_directory() / "kernel").string() +
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

}  // namespace thimble::launch

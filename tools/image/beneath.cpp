// See beneath.h.
#include "tools/image/beneath.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

namespace thimble::image {
namespace fs = std::filesystem;

Result<Folder> Folder::open(const fs::path& path) {
  Descriptor folder(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return fail_errno("open " + path.string());
  return Folder(path, std::move(folder));
}

Descriptor Folder::open_beneath(const std::string& name, int flags) const {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return Descriptor(
      static_cast<int>(::syscall(SYS_openat2, descriptor_.get(), name.c_str(), &how, sizeof how)));
}

Result<Descriptor> Folder::open_regular(const std::string& name) const {
  // A name with a zero byte would be another one to the kernel.
  if (name.find('\0') != std::string::npos) return fail("open " + path_.string() + ": a bad name");
  Descriptor file = open_beneath(name, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!file && (errno == EXDEV || errno == ELOOP)) {
    return fail("open " + shown(name) + ": leads out of its folder or is a symbolic link");
  }
  if (!file) return fail_errno("open " + shown(name));
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return fail_errno("open " + shown(name));
  if (!S_ISREG(status.st_mode)) return fail("open " + shown(name) + ": not a regular file");
  return file;
}

Result<std::string> Folder::read(const std::string& name, std::uint64_t limit) const {
  const Result<Descriptor> file = open_regular(name);
  if (!file) return std::unexpected(file.error());
  return read_descriptor(file->get(), limit, shown(name));
}

Result<std::vector<std::string>> Folder::files_in(const std::string& name,
                                                  std::size_t limit) const {
  if (!is_inner_name(name)) return fail("open " + shown(name) + ": not a name inside the folder");
  const Descriptor directory = open_beneath(name, O_RDONLY | O_DIRECTORY);
  if (!directory) return fail_errno("open " + shown(name));
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(
      ::fdopendir(::fcntl(directory.get(), F_DUPFD_CLOEXEC, 0)), ::closedir);
  if (!entries) return fail_errno("open " + shown(name));
  std::vector<std::string> files;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): this stream is ours alone
  while (const dirent* entry = ::readdir(entries.get())) {
    const std::string file(static_cast<const char*>(entry->d_name));
    if (file.starts_with('.') || !open_regular((fs::path(name) / file).string())) continue;
    if (files.size() == limit) return fail("open " + shown(name) + ": too many files");
    files.push_back(file);
  }
  std::ranges::sort(files);
  return files;
}

Result<void> Folder::replace(const std::string& name, std::string_view text) const {
  const fs::path path(name);
  const std::string last = path.filename().string();
  if (!is_inner_name(name) || last.empty() || last == ".") {
    return fail("write " + shown(name) + ": not a name inside the folder");
  }
  const std::string above = path.has_parent_path() ? path.parent_path().string() : ".";
  const Descriptor directory = open_beneath(above, O_PATH | O_DIRECTORY);
  if (!directory) return fail_errno("open " + shown(above));
  const std::string temporary = ".thimble." + std::to_string(::getpid()) + ".new";
  const Descriptor file(::openat(directory.get(), temporary.c_str(),
                                 O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!file) return fail_errno("create a file in " + shown(above));
  Result<void> done = write_descriptor(file.get(), text, shown(name));
  if (done && ::renameat(directory.get(), temporary.c_str(), directory.get(), last.c_str()) != 0) {
    done = fail_errno("write " + shown(name));
  }
  if (!done) ::unlinkat(directory.get(), temporary.c_str(), 0);
  return done;
}

Result<void> Folder::set_mode(const std::string& name, mode_t mode) const {
  const Result<Descriptor> file = open_regular(name);
  if (!file) return std::unexpected(file.error());
  if (::fchmod(file->get(), mode) != 0) return fail_errno("set the mode of " + shown(name));
  return {};
}

bool is_inner_name(std::string_view name) {
  if (name.empty() || name.front() == '/' || name.find('\0') != std::string_view::npos) {
    return false;
  }
  for (const fs::path& part : fs::path(name)) {
    if (part == "..") return false;
  }
  return true;
}

}  // namespace thimble::image

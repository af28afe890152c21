// See owned_folder.h.
#include "devices/base/owned_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "devices/text.h"

namespace thimble {

namespace {

constexpr int kFolderFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
constexpr mode_t kForUs = 0700;
constexpr mode_t kFileForUs = 0600;
constexpr mode_t kOthersWrite = 0022;
constexpr mode_t kOthersEnter = 0077;

// Root can do as it likes in any case.
bool is_trusted(uid_t owner) { return owner == 0 || owner == ::geteuid(); }

// No link, no way out.
int open_beneath(int folder, const std::string& name, int flags, mode_t mode = 0) {
  open_how how{};
  how.flags = static_cast<unsigned>(flags | O_CLOEXEC);
  how.mode = (flags & O_CREAT) != 0 ? mode : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  long fd = -1;
  // EAGAIN: something was renamed meanwhile.
  while ((fd = ::syscall(SYS_openat2, folder, name.c_str(), &how, sizeof how)) < 0 &&
         (errno == EINTR || errno == EAGAIN)) {
  }
  return static_cast<int>(fd);
}

std::unexpected<FileFault> cannot_open(const std::string& what) {
  if (errno == ELOOP)
    return unsound(what + ": it is a link, or leads through one: remove the link");
  return file_fault(what);
}

FileResult<void> look_at_file(int fd, const std::string& path, bool shared, bool written) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return file_fault("look at " + path);
  if (!S_ISREG(info.st_mode)) return unsound("open " + path + ": it is no file: remove it");
  if (!is_trusted(info.st_uid)) {
    return unsound(text("open %s: it belongs to user %u: remove it", path.c_str(), info.st_uid));
  }
  if (shared && (info.st_mode & kOthersWrite) != 0) {
    return unsound("open " + path + ": others may write to it: chmod go-w " + path);
  }
  if (written && info.st_nlink > 1) {
    return unsound("open " + path + ": it has a second name (a hard link): remove it");
  }
  return {};
}

FileResult<void> write_all(int fd, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t n = ::write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return file_fault("write " + path);
    content.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

}  // namespace

FileResult<OwnedFolder> OwnedFolder::look_at(Fd fd, std::string path, const FolderRules& rules) {
  if (!fd) return file_fault("open folder " + path);
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return file_fault("look at " + path);
  if (!is_trusted(info.st_uid)) {
    return unsound(text("folder %s: it belongs to user %u, not to you: ", path.c_str(), info.st_uid)
                       .append(rules.if_foreign));
  }
  if (!rules.others_may_read && (info.st_mode & kOthersEnter) != 0) {
    return unsound("folder " + path +
                   ": it must be yours alone: see what is in it, and chmod 700 " + path);
  }
  // A sticky one, too: such a folder is a /tmp, where others take a name before us.
  if ((info.st_mode & kOthersWrite) != 0) {
    return unsound("folder " + path +
                   ": others may write to it: see what is in it, and chmod go-w " + path);
  }
  return OwnedFolder(std::move(fd), std::move(path), rules.others_may_read);
}

FileResult<OwnedFolder> OwnedFolder::open(const std::string& path, const FolderRules& rules) {
  return open_in(AT_FDCWD, path, path, rules);
}

FileResult<OwnedFolder> OwnedFolder::open_in(int parent, const std::string& name, std::string path,
                                             const FolderRules& rules) {
  const int links = rules.may_be_link ? 0 : O_NOFOLLOW;
  return look_at(Fd(::openat(parent, name.c_str(), kFolderFlags | links)), std::move(path), rules);
}

FileResult<OwnedFolder> OwnedFolder::make(const std::string& path, const FolderRules& rules) {
  auto there = open(path, rules);
  if (there || there.error().kind != FileFault::Kind::kMissing) return there;
  std::error_code code;
  const auto above = std::filesystem::path(path).parent_path();
  if (!above.empty()) std::filesystem::create_directories(above, code);
  if (::mkdir(path.c_str(), kForUs) != 0 && errno != EEXIST) return file_fault("make " + path);
  return open(path, rules);
}

FileResult<OwnedFolder> OwnedFolder::make_new(int parent, const std::string& name,
                                              std::string path) {
  if (::mkdirat(parent, name.c_str(), kForUs) != 0) return file_fault("make " + path);
  return look_at(Fd(::openat(parent, name.c_str(), kFolderFlags | O_NOFOLLOW)), std::move(path),
                 {});
}

std::string OwnedFolder::path_of(std::string_view name) const {
  return std::string(path_).append(path_.ends_with('/') ? "" : "/").append(name);
}

OwnedFolder OwnedFolder::share() const {
  return {Fd(::fcntl(fd(), F_DUPFD_CLOEXEC, 3)), path_, others_may_read_};
}

std::string OwnedFolder::way_to(std::string_view name) const {
  return text("/proc/self/fd/%d/", fd()).append(name);
}

// Where nobody else can enter, modes do not matter.
FileResult<OwnedFolder> OwnedFolder::folder(const std::string& name) const {
  std::string path = path_of(name);
  Fd opened(open_beneath(fd(), name, kFolderFlags));
  if (!opened) return cannot_open("open folder " + path);
  if (others_may_read_) {
    return look_at(std::move(opened), std::move(path),
                   {.others_may_read = true, .if_foreign = "remove it"});
  }
  struct stat info{};
  if (::fstat(opened.get(), &info) != 0) return file_fault("look at " + path);
  if (is_trusted(info.st_uid)) return OwnedFolder(std::move(opened), std::move(path), false);
  return unsound(text("folder %s: it belongs to user %u: remove it", path.c_str(), info.st_uid));
}

FileResult<OwnedFolder> OwnedFolder::make_folder(const std::string& name) const {
  if (::mkdirat(fd(), name.c_str(), kForUs) != 0 && errno != EEXIST) {
    return file_fault("make " + path_of(name));
  }
  return folder(name);
}

FileResult<Fd> OwnedFolder::open_file(const std::string& name, int flags) const {
  const std::string path = path_of(name);
  Fd file(open_beneath(fd(), name, flags | O_NONBLOCK | O_NOCTTY, kFileForUs));
  if (!file) return cannot_open("open " + path);
  const bool written = (flags & O_ACCMODE) != O_RDONLY;
  if (auto fits = look_at_file(file.get(), path, others_may_read_, written); !fits) {
    return std::unexpected(fits.error());
  }
  return file;
}

FileResult<Fd> OwnedFolder::read(const std::string& name) const {
  return open_file(name, O_RDONLY);
}

FileResult<Fd> OwnedFolder::create(const std::string& name) const {
  return open_file(name, O_RDWR | O_CREAT | O_EXCL);
}

FileResult<Fd> OwnedFolder::write_to(const std::string& name, int more) const {
  return open_file(name, O_RDWR | O_CREAT | more);
}

FileResult<std::string> OwnedFolder::content(const std::string& name, size_t limit) const {
  const auto file = read(name);
  if (!file) return std::unexpected(file.error());
  std::string content;
  for (size_t step = 4096;; step = content.size()) {
    const size_t had = content.size();
    content.resize(had + std::min(step, limit + 1 - had));
    const ssize_t n = ::read(file->get(), content.data() + had, content.size() - had);
    content.resize(had + static_cast<size_t>(std::max<ssize_t>(n, 0)));
    if (n < 0 && errno != EINTR) return file_fault("read " + path_of(name));
    if (n == 0) return content;
    if (content.size() > limit) return unsound("read " + path_of(name) + ": it is too long");
  }
}

FileResult<void> OwnedFolder::replace(const std::string& name, std::string_view content,
                                      Durable durable) const {
  const std::string fresh = name + text(".%d.new", ::getpid());
  if (auto gone = remove(fresh); !gone) return gone;  // of a killed process that had our number
  auto file = create(fresh);
  if (!file) return std::unexpected(file.error());
  auto done = write_all(file->get(), content, path_of(name));
  if (done && durable == Durable::kYes && ::fsync(file->get()) != 0) {
    done = file_fault("write " + path_of(name) + " to disk");
  }
  if (done && ::renameat(fd(), fresh.c_str(), fd(), name.c_str()) != 0) {
    done = file_fault("name " + path_of(name));
  }
  if (!done) ::unlinkat(fd(), fresh.c_str(), 0);
  return done;
}

FileResult<void> OwnedFolder::remove(const std::string& name) const {
  if (::unlinkat(fd(), name.c_str(), 0) == 0 || errno == ENOENT) return {};
  return file_fault("remove " + path_of(name));
}

bool OwnedFolder::is_still(int open, const std::string& name) const {
  struct stat opened{};
  struct stat named{};
  return ::fstat(open, &opened) == 0 &&
         ::fstatat(fd(), name.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
         opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

FileResult<std::vector<std::string>> OwnedFolder::names() const {
  const int listed = ::openat(fd(), ".", kFolderFlags);
  if (listed < 0) return file_fault("list " + path_);
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(listed), ::closedir);
  if (!entries) return file_fault("list " + path_);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(entries.get())) {
    const std::string_view name(entry->d_name);
    if (name != "." && name != "..") names.emplace_back(name);
  }
  if (errno != 0) return file_fault("list " + path_);
  std::ranges::sort(names);
  return names;
}

}  // namespace thimble

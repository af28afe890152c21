// See template.h: the folder.
#include "pool/template/template.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iterator>

#include "pool/template/draft_lock.h"
#include "pool/template/file_mark.h"
#include "thimble/snapshot.h"

namespace thimble {
namespace fs = std::filesystem;

namespace {

constexpr size_t kMaxName = 64;
constexpr size_t kMaxFacts = size_t{4} << 20;
constexpr const char* kDraftPrefix = ".making-";
constexpr const char* kOldPrefix = ".old-";
constexpr const char* kLockPrefix = ".lock-";
constexpr const char* kFailurePrefix = ".failed-";
constexpr size_t kMaxReason = 1000;

// Letters, digits and ".-_", not beginning with a dot: a name is a folder's name, nothing more.
Result<void> check_name(const std::string& name) {
  const auto fits = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.';
  };
  if (!name.empty() && name.size() <= kMaxName && name.front() != '.' &&
      std::ranges::all_of(name, fits)) {
    return {};
  }
  return fail("'" + name + "' is no name for a template: 1 to 64 letters, digits, '.', '-', '_'");
}

Result<Fd> open_in(const fs::path& folder, const char* name, int flags) {
  const fs::path path = folder / name;
  Fd file(::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return fail_errno("open " + path.string());
  return file;
}

Result<void> write_durably(const fs::path& path, std::string_view content) {
  const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file) return fail_errno("make " + path.string());
  while (!content.empty()) {
    const ssize_t n = ::write(file.get(), content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail_errno("write " + path.string());
    content.remove_prefix(static_cast<size_t>(n));
  }
  if (::fsync(file.get()) != 0) return fail_errno("write " + path.string());
  return {};
}

Result<void> sync_path(const fs::path& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file || ::fsync(file.get()) != 0) return fail_errno("make " + path.string() + " durable");
  return {};
}

// For reading. Waits for nobody: a FIFO has no place here, and is not taken for a file.
Result<Fd> open_at(const Fd& folder, const fs::path& path) {
  Fd file(::openat(folder.get(), path.filename().c_str(),
                   O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat status{};
  if (!file || ::fstat(file.get(), &status) != 0) return fail_errno("open " + path.string());
  if (!S_ISREG(status.st_mode)) return fail("open " + path.string() + ": it is no file");
  return file;
}

Result<TemplateFacts> read_facts(const Fd& folder, const fs::path& path) {
  const std::string where = path.string();
  auto file = open_at(folder, path);
  if (!file) return std::unexpected(file.error());
  struct stat status{};
  ::fstat(file->get(), &status);
  if (status.st_size > static_cast<off_t>(kMaxFacts)) {
    return fail("read " + where + ": it is too long: make the template again");
  }
  std::string content(static_cast<size_t>(status.st_size), 0);
  for (size_t at = 0; at < content.size();) {
    const ssize_t n = ::read(file->get(), content.data() + at, content.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail("read " + where + ": it is damaged: make the template again");
    at += static_cast<size_t>(n);
  }
  return template_from_json(content, where);
}

// A draft whose maker is no more.
void remove_abandoned(const fs::path& draft) {
  const Fd held = lock_draft(draft);
  std::error_code code;
  if (held) fs::remove_all(draft, code);
}

// It goes with the one that takes it.
void remove_idle_lock(const fs::path& path) { const auto taken = MakerLock::take(path); }

bool is_older(const fs::path& path, std::chrono::seconds age) {
  struct stat status{};
  return ::lstat(path.c_str(), &status) == 0 &&
         status.st_mtim.tv_sec + age.count() <= ::time(nullptr);
}

}  // namespace

Result<TemplateStore> TemplateStore::open(const fs::path& folder) {
  struct stat status{};
  if (::lstat(folder.c_str(), &status) != 0) {
    std::error_code code;
    fs::create_directories(folder.parent_path(), code);
    if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
      return fail_errno("make " + folder.string());
    }
    if (::lstat(folder.c_str(), &status) != 0) return fail_errno("look at " + folder.string());
  }
  const bool ours = S_ISDIR(status.st_mode) && status.st_uid == ::geteuid();
  if (!ours || (status.st_mode & 0077) != 0) {
    return fail(folder.string() +
                ": templates hold what servers had in memory: this must be a folder of yours that "
                "nobody else can enter (chmod 700)");
  }
  return TemplateStore(folder);
}

std::vector<std::string> TemplateStore::names() const {
  std::vector<std::string> names;
  std::error_code code;
  for (const auto& entry : fs::directory_iterator(folder_, code)) {
    std::string name = entry.path().filename().string();
    if (check_name(name)) names.push_back(std::move(name));
  }
  std::ranges::sort(names);
  return names;
}

fs::path TemplateStore::path_of(const std::string& name) const { return folder_ / name; }

// The folder itself, so that all that is opened in it belongs together even if it is replaced
// meanwhile.
Result<Fd> TemplateStore::open_folder_of(const std::string& name) const {
  if (auto fits = check_name(name); !fits) return std::unexpected(fits.error());
  const fs::path path = path_of(name);
  Fd folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (folder) return folder;
  if (errno != ENOENT) return fail_errno("open " + path.string());
  return fail("there is no template " + name + ": make it with `thimble template create " + name +
              " -- CMD`");
}

Result<TemplateFacts> TemplateStore::facts(const std::string& name) const {
  auto folder = open_folder_of(name);
  if (!folder) return std::unexpected(folder.error());
  return read_facts(*folder, path_of(name) / "template");
}

bool TemplateStore::has(const std::string& name) const {
  std::error_code code;
  return check_name(name) && fs::exists(path_of(name) / "template", code);
}

uint64_t TemplateStore::last_use(const std::string& name) const {
  struct stat status{};
  if (::stat((path_of(name) / "template").c_str(), &status) != 0) return 0;
  return static_cast<uint64_t>(status.st_mtim.tv_sec);
}

uint64_t TemplateStore::stored_bytes(const std::string& name) const {
  uint64_t bytes = 0;
  for (const char* part : {"state", "memory", "working", "template"}) {
    struct stat status{};
    if (::stat((path_of(name) / part).c_str(), &status) != 0) continue;
    bytes += static_cast<uint64_t>(status.st_blocks) * 512;
  }
  return bytes;
}

Result<void> TemplateStore::remove(const std::string& name) const {
  if (auto fits = check_name(name); !fits) return fits;
  // Out of sight first, so that nobody opens half of it.
  const fs::path away = folder_ / (kOldPrefix + name + "." + std::to_string(::getpid()));
  std::error_code code;
  fs::remove(folder_ / (kFailurePrefix + name), code);
  fs::rename(path_of(name), away, code);
  if (code == std::errc::no_such_file_or_directory) return fail("there is no template " + name);
  if (code) return fail("remove template " + name + ": " + code.message());
  fs::remove_all(away, code);
  if (code) return fail("remove " + away.string() + ": " + code.message());
  return {};
}

Result<TemplateStore::Opened> TemplateStore::open_template(const std::string& name) const {
  const fs::path path = path_of(name);
  auto folder = open_folder_of(name);
  if (!folder) return std::unexpected(folder.error());
  auto found = read_facts(*folder, path / "template");
  if (!found) return std::unexpected(found.error());
  auto state = open_at(*folder, path / "state");
  if (!state) return std::unexpected(state.error());
  auto memory = open_at(*folder, path / "memory");
  if (!memory) return std::unexpected(memory.error());
  auto mark = file_mark(memory->get());
  if (!mark) return std::unexpected(mark.error());
  if (*mark != found->memory_mark) {
    auto checked = Snapshot::open(Fd(::dup(state->get())), Fd(::dup(memory->get())));
    if (!checked) return fail_in("template " + name, checked);
  }
  ::utimensat(folder->get(), "template", nullptr, AT_SYMLINK_NOFOLLOW);
  auto working = open_at(*folder, path / "working");
  SnapshotFiles files{std::move(*state), std::move(*memory), working ? std::move(*working) : Fd()};
  return Opened{std::move(*found), std::move(files), std::move(*folder)};
}

Result<void> TemplateStore::keep_working_set(const Opened& of, std::span<const uint8_t> set) {
  const int folder = of.folder.get();
  const std::string fresh = "working." + std::to_string(::getpid());
  const Fd file(::openat(folder, fresh.c_str(),
                         O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR));
  if (!file) return fail_errno("keep a working set");
  const bool written = ::write(file.get(), set.data(), set.size()) == std::ssize(set);
  if (written && ::renameat(folder, fresh.c_str(), folder, "working") == 0) return {};
  const int why = errno;
  ::unlinkat(folder, fresh.c_str(), 0);
  return fail_errno("keep a working set", why);
}

void TemplateStore::sweep(std::chrono::seconds notes_older_than) const {
  std::error_code code;
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder_, code)) found.push_back(entry.path());
  for (const fs::path& path : found) {
    const std::string name = path.filename().string();
    if (name.starts_with(kOldPrefix)) fs::remove_all(path, code);
    if (name.starts_with(kDraftPrefix)) remove_abandoned(path);
    if (!is_older(path, notes_older_than)) continue;
    if (name.starts_with(kFailurePrefix)) fs::remove(path, code);
    if (name.starts_with(kLockPrefix)) remove_idle_lock(path);
  }
}

void TemplateStore::note_failure(const std::string& name, const std::string& why) const {
  if (!check_name(name)) return;
  std::ofstream(folder_ / (kFailurePrefix + name), std::ios::trunc) << why.substr(0, kMaxReason);
}

std::optional<std::string> TemplateStore::failure(const std::string& name) const {
  const fs::path path = folder_ / (kFailurePrefix + name);
  struct stat status{};
  if (!check_name(name) || ::stat(path.c_str(), &status) != 0) return std::nullopt;
  const std::chrono::seconds counts = kFailureCounts;
  if (status.st_mtim.tv_sec + counts.count() < ::time(nullptr)) return std::nullopt;
  std::ifstream file(path, std::ios::binary);
  std::string why(kMaxReason, 0);
  file.read(why.data(), static_cast<std::streamsize>(why.size()));
  why.resize(static_cast<size_t>(file.gcount()));
  return why;
}

Result<std::optional<MakerLock>> TemplateStore::lock(const std::string& name) const {
  if (auto fits = check_name(name); !fits) return std::unexpected(fits.error());
  return MakerLock::take(folder_ / (kLockPrefix + name));
}

Result<TemplateStore::Draft> TemplateStore::draft(const std::string& name) const {
  if (auto fits = check_name(name); !fits) return std::unexpected(fits.error());
  sweep();
  for (;;) {
    std::string pattern = (folder_ / (std::string(kDraftPrefix) + name + ".XXXXXX")).string();
    if (::mkdtemp(pattern.data()) == nullptr) {
      return fail_errno("make a folder in " + folder_.string());
    }
    Fd lock = lock_draft(pattern);
    if (lock) return Draft(pattern, path_of(name), std::move(lock));
    // One who sweeps in this very moment has taken it away, or is about to.
    if (errno != EWOULDBLOCK && errno != ENOENT) return fail_errno("lock " + pattern);
  }
}

TemplateStore::Draft::Draft(Draft&& other) noexcept
    : folder_(std::move(other.folder_)),
      target_(std::move(other.target_)),
      lock_(std::move(other.lock_)) {
  other.folder_.clear();
}

TemplateStore::Draft::~Draft() {
  std::error_code code;
  if (!folder_.empty()) fs::remove_all(folder_, code);
}

Result<SnapshotFiles> TemplateStore::Draft::files() const {
  auto state = open_in(folder_, "state", O_RDWR | O_CREAT | O_EXCL);
  if (!state) return std::unexpected(state.error());
  auto memory = open_in(folder_, "memory", O_RDWR | O_CREAT | O_EXCL);
  if (!memory) return std::unexpected(memory.error());
  return SnapshotFiles{std::move(*state), std::move(*memory), Fd()};
}

Result<void> TemplateStore::Draft::publish(TemplateFacts facts) {
  for (const char* part : {"state", "memory"}) {
    if (auto synced = sync_path(folder_ / part); !synced) return synced;
    ::chmod((folder_ / part).c_str(), 0400);  // clones map it: it must stay as it is
  }
  auto memory = open_in(folder_, "memory", O_RDONLY);
  if (!memory) return std::unexpected(memory.error());
  auto mark = file_mark(memory->get());
  if (!mark) return std::unexpected(mark.error());
  facts.memory_mark = std::move(*mark);
  if (auto done = write_durably(folder_ / "template", template_to_json(facts)); !done) return done;
  if (auto synced = sync_path(folder_); !synced) return synced;
  // In place of an older one in one step: there is never none, and never half of one.
  int renamed = ::rename(folder_.c_str(), target_.c_str());
  const bool replaces = renamed != 0 && (errno == ENOTEMPTY || errno == EEXIST);
  if (replaces) {
    renamed = ::renameat2(AT_FDCWD, folder_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE);
  }
  if (renamed != 0) return fail_errno("name " + target_.string());
  std::error_code code;
  if (replaces) fs::remove_all(folder_, code);
  folder_.clear();
  fs::remove(target_.parent_path() / (kFailurePrefix + target_.filename().string()), code);
  return sync_path(target_.parent_path());
}

}  // namespace thimble

// See template.h: the folder.
#include "pool/template/template.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <ctime>
#include <set>

#include "devices/text.h"
#include "pool/template/file_mark.h"
#include "thimble/snapshot.h"

namespace thimble {
namespace fs = std::filesystem;

namespace {

constexpr size_t kMaxName = 64;
constexpr size_t kMaxFacts = size_t{4} << 20;
constexpr const char* kStagingPrefix = ".making-";
constexpr const char* kOldPrefix = ".old-";
constexpr const char* kLockPrefix = ".lock-";
constexpr const char* kFailurePrefix = ".failed-";
constexpr const char* kRefusalPrefix = ".refused-";
constexpr size_t kMaxReason = 1000;
constexpr const char* kParts[] = {"state", "memory", "working", "template"};

// Of a template that is made or removed.
void forget_notes(const OwnedFolder& folder, const std::string& name) {
  for (const char* prefix : {kFailurePrefix, kRefusalPrefix}) {
    [[maybe_unused]] auto forgotten = folder.remove(prefix + name);
  }
}

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

FileResult<TemplateFacts> read_facts(const OwnedFolder& folder) {
  auto content = folder.content("template", kMaxFacts);
  if (!content) return std::unexpected(content.error());
  return template_from_json(*content, folder.path_of("template"));
}

// A file that cannot be read just now may be as good as ever.
bool can_be_read(int fd) {
  std::array<char, size_t{1} << 16> bytes{};
  off_t at = 0;
  for (;;) {
    const ssize_t n = ::pread(fd, bytes.data(), bytes.size(), at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return n == 0;
    at += n;
  }
}

FileResult<void> verify(const SnapshotFiles& files) {
  const int state = files.state.get();
  const int memory = files.memory.get();
  Fd of_state(::fcntl(state, F_DUPFD_CLOEXEC, 0));
  Fd of_memory(::fcntl(memory, F_DUPFD_CLOEXEC, 0));
  if (!of_state || !of_memory) return file_fault("duplicate a descriptor");
  auto checked = Snapshot::open(std::move(of_state), std::move(of_memory));
  if (checked) return {};
  const bool read = can_be_read(state) && can_be_read(memory);
  const auto kind = read ? FileFault::Kind::kUnsound : FileFault::Kind::kPassing;
  return std::unexpected(FileFault{checked.error(), kind});
}

void remove_tree(const OwnedFolder& folder, const std::string& name) {
  std::error_code code;
  fs::remove_all(folder.way_to(name), code);
}

// A staging folder whose maker is no more.
void remove_abandoned(const OwnedFolder& store, const std::string& staging) {
  const auto held = lock_folder(store, staging);
  if (held && *held) remove_tree(store, staging);
}

// It goes with the one that takes it.
void remove_idle_lock(const OwnedFolder& store, const std::string& name) {
  const auto taken = FileLock::take(store, name);
}

bool look(const OwnedFolder& folder, const std::string& name, struct stat& status) {
  return ::fstatat(folder.fd(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
}

// By the exact clock: time(2) may lag a tick behind the times that a file system gives.
time_t now() { return std::chrono::system_clock::to_time_t(std::chrono::system_clock::now()); }

bool is_older(const OwnedFolder& folder, const std::string& name, std::chrono::seconds age) {
  struct stat status{};
  return look(folder, name, status) && status.st_mtim.tv_sec + age.count() <= now();
}

}  // namespace

Result<TemplateStore> TemplateStore::open(const fs::path& folder) {
  auto opened = OwnedFolder::make(
      folder, {.if_foreign = "templates hold what servers had in memory: name a folder of your own "
                             "with THIMBLE_TEMPLATES"});
  if (!opened) return std::unexpected(opened.error());
  return TemplateStore(std::move(*opened));
}

std::vector<std::string> TemplateStore::names() const {
  auto names = folder_.names().value_or(std::vector<std::string>());
  std::erase_if(names, [](const std::string& name) { return !check_name(name); });
  return names;
}

fs::path TemplateStore::path_of(const std::string& name) const { return folder_.path_of(name); }

// The folder itself, so that all that is opened in it belongs together even if it is replaced
// meanwhile.
FileResult<OwnedFolder> TemplateStore::open_folder_of(const std::string& name) const {
  if (auto fits = check_name(name); !fits) return unsound(fits.error().message);
  auto folder = folder_.folder(name);
  if (folder || folder.error().kind != FileFault::Kind::kMissing) return folder;
  const std::string why = "there is no template " + name +
                          ": make it with `thimble template create " + name + " -- CMD`";
  return std::unexpected(FileFault{{why}, FileFault::Kind::kMissing});
}

FileResult<TemplateFacts> TemplateStore::facts(const std::string& name) const {
  auto folder = open_folder_of(name);
  if (!folder) return std::unexpected(folder.error());
  return read_facts(*folder);
}

bool TemplateStore::has(const std::string& name) const {
  struct stat status{};
  return check_name(name) && look(folder_, name + "/template", status);
}

uint64_t TemplateStore::last_use(const std::string& name) const {
  struct stat status{};
  if (!check_name(name) || !look(folder_, name + "/template", status)) return 0;
  return static_cast<uint64_t>(status.st_mtim.tv_sec);
}

uint64_t TemplateStore::stored_bytes(const std::string& name) const {
  uint64_t bytes = 0;
  if (!check_name(name)) return bytes;
  for (const std::string part : kParts) {
    struct stat status{};
    if (!look(folder_, text("%s/%s", name.c_str(), part.c_str()), status)) continue;
    bytes += static_cast<uint64_t>(status.st_blocks) * 512;
  }
  return bytes;
}

Result<void> TemplateStore::remove(const std::string& name) const {
  if (auto fits = check_name(name); !fits) return fits;
  // Out of sight first, so that nobody opens half of it.
  const std::string away = kOldPrefix + name + "." + std::to_string(::getpid());
  forget_notes(folder_, name);
  if (::renameat(folder_.fd(), name.c_str(), folder_.fd(), away.c_str()) != 0) {
    if (errno == ENOENT) return fail("there is no template " + name);
    return fail_errno("remove template " + name);
  }
  std::error_code code;
  fs::remove_all(folder_.way_to(away), code);
  if (code) return fail("remove " + folder_.path_of(away) + ": " + code.message());
  return {};
}

FileResult<TemplateStore::Opened> TemplateStore::open_template(const std::string& name) const {
  auto folder = open_folder_of(name);
  if (!folder) return std::unexpected(folder.error());
  auto found = read_facts(*folder);
  if (!found) return std::unexpected(found.error());
  auto state = folder->read("state");
  if (!state) return std::unexpected(state.error());
  auto memory = folder->read("memory");
  if (!memory) return std::unexpected(memory.error());
  SnapshotFiles files{std::move(*state), std::move(*memory), Fd()};
  auto mark = file_mark(files.memory.get());
  if (!mark) return std::unexpected(FileFault{mark.error()});
  if (*mark != found->memory_mark) {
    if (auto checked = verify(files); !checked)
      return fault_in("template " + name, checked.error());
  }
  ::utimensat(folder->fd(), "template", nullptr, AT_SYMLINK_NOFOLLOW);
  if (auto working = folder->read("working")) files.working_set = std::move(*working);
  return Opened{std::move(*found), std::move(files), std::move(*folder)};
}

Result<void> TemplateStore::keep_working_set(const Opened& of, std::span<const uint8_t> set) {
  const std::string_view bytes(reinterpret_cast<const char*>(set.data()), set.size());
  if (auto kept = of.folder->replace("working", bytes, OwnedFolder::Durable::kNo); !kept) {
    return fail("keep a working set: " + kept.error().message);
  }
  return {};
}

void TemplateStore::sweep(std::chrono::seconds unused_for) const {
  const auto found = folder_.names().value_or(std::vector<std::string>());
  const auto refusals = std::min<std::chrono::seconds>(unused_for, kRefusalCounts);
  const auto others = std::min<std::chrono::seconds>(unused_for, kFailureCounts);
  for (const std::string& name : found) {
    if (name.starts_with(kOldPrefix)) remove_tree(folder_, name);
    if (name.starts_with(kStagingPrefix)) remove_abandoned(folder_, name);
    if (name.starts_with(kRefusalPrefix) && is_older(folder_, name, refusals)) {
      remove_tree(folder_, name);
    }
    if (!is_older(folder_, name, others)) continue;
    if (name.starts_with(kFailurePrefix)) remove_tree(folder_, name);
    if (name.starts_with(kLockPrefix)) remove_idle_lock(folder_, name);
  }
}

void TemplateStore::note(const char* prefix, const std::string& name,
                         const std::string& why) const {
  if (!check_name(name)) return;
  // Advice: where it cannot be kept, the next run tries again.
  [[maybe_unused]] auto noted = folder_.replace(
      prefix + name, std::string_view(why).substr(0, kMaxReason), OwnedFolder::Durable::kNo);
}

void TemplateStore::note_failure(const std::string& name, const std::string& why) const {
  note(kFailurePrefix, name, why);
}

void TemplateStore::note_refusal(const std::string& name, const std::string& why) const {
  note(kRefusalPrefix, name, why);
}

std::optional<std::string> TemplateStore::failure(const std::string& name) const {
  if (!check_name(name)) return std::nullopt;
  const std::pair<const char*, std::chrono::seconds> kinds[] = {{kRefusalPrefix, kRefusalCounts},
                                                                {kFailurePrefix, kFailureCounts}};
  for (const auto& [prefix, counts] : kinds) {
    const std::string note = prefix + name;
    struct stat status{};
    if (!look(folder_, note, status)) continue;
    if (status.st_mtim.tv_sec + counts.count() < now()) continue;
    return folder_.content(note, kMaxReason).value_or("");
  }
  return std::nullopt;
}

std::vector<std::string> TemplateStore::failures() const {
  std::set<std::string> names;
  for (const std::string& file : folder_.names().value_or(std::vector<std::string>())) {
    for (const std::string_view prefix : {kFailurePrefix, kRefusalPrefix}) {
      if (!file.starts_with(prefix)) continue;
      std::string name = file.substr(prefix.size());
      if (failure(name)) names.insert(std::move(name));
    }
  }
  return {names.begin(), names.end()};
}

Result<std::optional<FileLock>> TemplateStore::lock(const std::string& name) const {
  if (auto fits = check_name(name); !fits) return std::unexpected(fits.error());
  return FileLock::take(folder_, kLockPrefix + name);
}

Result<TemplateStore::Staging> TemplateStore::stage(const std::string& name) const {
  if (auto fits = check_name(name); !fits) return std::unexpected(fits.error());
  sweep();
  for (;;) {
    std::string pattern = folder_.way_to(std::string(kStagingPrefix) + name + ".XXXXXX");
    if (::mkdtemp(pattern.data()) == nullptr) {
      return fail_errno("make a folder in " + folder_.path());
    }
    std::string staging = fs::path(pattern).filename();
    auto locked = lock_folder(folder_, staging);
    if (!locked) return std::unexpected(locked.error());
    if (*locked) return Staging(folder_.share(), std::move(**locked), std::move(staging), name);
    // One who sweeps in this very moment has taken it away, or is about to.
  }
}

TemplateStore::Staging::Staging(Staging&& other) noexcept
    : store_(std::move(other.store_)),
      folder_(std::move(other.folder_)),
      staging_name_(std::exchange(other.staging_name_, {})),
      name_(std::move(other.name_)) {}

TemplateStore::Staging::~Staging() {
  if (!staging_name_.empty()) remove_tree(store_, staging_name_);
}

Result<SnapshotFiles> TemplateStore::Staging::files() const {
  auto state = folder_.create("state");
  if (!state) return std::unexpected(state.error());
  auto memory = folder_.create("memory");
  if (!memory) return std::unexpected(memory.error());
  return SnapshotFiles{std::move(*state), std::move(*memory), Fd()};
}

// In place of an older one in one step: there is never none, and never half of one.
FileResult<void> TemplateStore::Staging::take_its_name() {
  const int store = store_.fd();
  int renamed = ::renameat(store, staging_name_.c_str(), store, name_.c_str());
  const bool replaces = renamed != 0 && (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR);
  if (replaces) {
    renamed = ::renameat2(store, staging_name_.c_str(), store, name_.c_str(), RENAME_EXCHANGE);
  }
  if (renamed != 0) return file_fault("name " + store_.path_of(name_));
  if (replaces) remove_tree(store_, staging_name_);
  staging_name_.clear();
  return {};
}

Result<void> TemplateStore::Staging::publish(TemplateFacts facts) {
  for (const char* part : {"state", "memory"}) {
    auto file = folder_.read(part);
    if (!file) return std::unexpected(file.error());
    if (::fsync(file->get()) != 0) return fail_errno("make " + folder_.path_of(part) + " durable");
    ::fchmod(file->get(), 0400);  // clones map it: it must stay as it is
    if (part != std::string_view("memory")) continue;
    auto mark = file_mark(file->get());
    if (!mark) return std::unexpected(mark.error());
    facts.memory_mark = std::move(*mark);
  }
  auto written = folder_.replace("template", template_to_json(facts), OwnedFolder::Durable::kYes);
  if (!written) return std::unexpected(written.error());
  if (::fsync(folder_.fd()) != 0) return fail_errno("make " + folder_.path() + " durable");
  if (auto named = take_its_name(); !named) return std::unexpected(named.error());
  forget_notes(store_, name_);
  if (::fsync(store_.fd()) != 0) return fail_errno("make " + store_.path() + " durable");
  return {};
}

}  // namespace thimble

// See snapshot_directory.h.
#include "pool/template/snapshot_directory.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <utility>

#include "devices/base/file_lock.h"
#include "devices/text.h"
#include "pool/template/file_mark.h"

namespace thimble {

namespace {

constexpr const char* kState = "state";
constexpr const char* kMemory = "memory";
constexpr const char* kVerified = "verified";
constexpr const char* kPartial = ".partial-";  // and the PID of who writes it
constexpr size_t kLongestMark = 256;
// Who can write the files can write their checksums.
constexpr FolderRules kRules{.others_may_read = true,
                             .may_be_link = true,
                             .if_foreign = "copy it to a folder of your own, if you trust it"};

Result<Fd> duplicate(int fd) {
  Fd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!copy) return fail_errno("duplicate a descriptor");
  return copy;
}

Result<void> sync(int fd, const std::string& what) {
  if (::fsync(fd) != 0) return fail_errno("write " + what + " to disk");
  return {};
}

// Where snapshots are saved: not always a folder of ours. Only what we make in it is touched.
Result<Fd> open_parent(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  Fd folder(::open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return fail_errno("open " + parent);
  return folder;
}

void remove_partial(int parent, const OwnedFolder& partial, const std::string& name) {
  for (const char* file : {kState, kMemory}) {
    [[maybe_unused]] auto gone = partial.remove(file);
  }
  ::unlinkat(parent, name.c_str(), AT_REMOVEDIR);
}

bool is_partial(std::string_view name, const std::string& of) {
  const std::string prefix = of + kPartial;
  if (!name.starts_with(prefix) || name.size() == prefix.size()) return false;
  return std::ranges::all_of(name.substr(prefix.size()),
                             [](char c) { return c >= '0' && c <= '9'; });
}

// What a save to `path` left that was killed: a folder of ours, and nobody holds its lock.
void remove_abandoned(int parent, const std::string& path, const std::string& of) {
  std::error_code failed;
  std::filesystem::directory_iterator entry(text("/proc/self/fd/%d", parent), failed);
  for (; !failed && entry != std::filesystem::directory_iterator(); entry.increment(failed)) {
    const std::string name = entry->path().filename().string();
    if (!is_partial(name, of)) continue;
    const auto partial = OwnedFolder::open_in(parent, name, path, {.others_may_read = true});
    const auto held = partial ? lock_folder(*partial) : false;
    if (held && *held) remove_partial(parent, *partial, name);
  }
}

}  // namespace

Result<SnapshotWriter> SnapshotWriter::create(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  auto parent = open_parent(path);
  if (!parent) return fail_in("save to " + path, parent);
  std::string name = std::filesystem::path(path).filename().string();
  struct stat info{};
  if (::fstatat(parent->get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0) {
    return fail("save to " + path + ": it exists already: give another name");
  }
  remove_abandoned(parent->get(), path, name);
  std::string partial = name + kPartial + std::to_string(::getpid());
  auto folder = OwnedFolder::make_new(parent->get(), partial, path + kPartial + "…");
  if (!folder) return fail("save to " + path + ": " + folder.error().message);
  SnapshotWriter writer(path, std::move(*parent), std::move(*folder), std::move(partial));
  const auto locked = lock_folder(writer.folder_);
  if (!locked || !*locked) return fail("save to " + path + ": somebody else is at it");
  auto state = writer.folder_.create(kState);
  if (!state) return std::unexpected(state.error());
  auto memory = writer.folder_.create(kMemory);
  if (!memory) return std::unexpected(memory.error());
  writer.state_ = std::move(*state);
  writer.memory_ = std::move(*memory);
  return writer;
}

SnapshotWriter::SnapshotWriter(SnapshotWriter&& other) noexcept
    : path_(std::move(other.path_)),
      parent_(std::move(other.parent_)),
      folder_(std::move(other.folder_)),
      partial_(std::exchange(other.partial_, {})),
      state_(std::move(other.state_)),
      memory_(std::move(other.memory_)) {}

SnapshotWriter::~SnapshotWriter() {
  if (!partial_.empty()) remove_partial(parent_.get(), folder_, partial_);
}

Result<SnapshotFiles> SnapshotWriter::files() const {
  auto state = duplicate(state_.get());
  if (!state) return std::unexpected(state.error());
  auto memory = duplicate(memory_.get());
  if (!memory) return std::unexpected(memory.error());
  return SnapshotFiles{.state = std::move(*state), .memory = std::move(*memory), .working_set = {}};
}

// The contents, the names in the folder, and then the folder's own name.
Result<void> SnapshotWriter::commit() {
  if (auto done = sync(memory_.get(), path_ + "/memory"); !done) return done;
  if (auto done = sync(state_.get(), path_ + "/state"); !done) return done;
  if (auto done = sync(folder_.fd(), path_); !done) return done;
  const std::string name = std::filesystem::path(path_).filename().string();
  if (::renameat2(parent_.get(), partial_.c_str(), parent_.get(), name.c_str(), RENAME_NOREPLACE) !=
      0) {
    return fail_errno("save to " + path_);
  }
  partial_.clear();
  return sync(parent_.get(), "the folder of " + path_);
}

Result<OpenedSnapshot> open_snapshot(const std::string& path) {
  const auto folder = OwnedFolder::open(path, kRules);
  if (!folder) return fail("snapshot " + path + ": " + folder.error().message);
  auto state = folder->read(kState);
  if (!state) return fail("snapshot " + path + ": " + state.error().message);
  auto memory = folder->read(kMemory);
  if (!memory) return fail("snapshot " + path + ": " + memory.error().message);
  auto state_copy = duplicate(state->get());
  if (!state_copy) return std::unexpected(state_copy.error());
  auto memory_copy = duplicate(memory->get());
  if (!memory_copy) return std::unexpected(memory_copy.error());

  const std::string before = file_mark(memory->get()).value_or("");
  const bool known =
      !before.empty() && folder->content(kVerified, kLongestMark).value_or("") == before;
  auto snapshot =
      Snapshot::open(std::move(*state_copy), std::move(*memory_copy),
                     known ? Snapshot::MemoryCheck::kTrust : Snapshot::MemoryCheck::kVerify);
  if (!snapshot) return fail_in("snapshot " + path, snapshot);
  // Not when it changed while it was read. Where it cannot be kept, the next one verifies again.
  if (!known && file_mark(memory->get()).value_or("") == before) {
    [[maybe_unused]] auto kept = folder->replace(kVerified, before, OwnedFolder::Durable::kNo);
  }
  return OpenedSnapshot{
      .files = {.state = std::move(*state), .memory = std::move(*memory), .working_set = {}},
      .snapshot = std::move(*snapshot)};
}

}  // namespace thimble

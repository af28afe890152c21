// See snapshot_directory.h.
#include "pool/template/snapshot_directory.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>
#include <utility>

#include "devices/text.h"
#include "pool/template/draft_lock.h"
#include "pool/template/file_mark.h"

namespace thimble {

namespace {

constexpr const char* kState = "/state";
constexpr const char* kMemory = "/memory";
constexpr const char* kVerified = "/verified";
constexpr const char* kPartial = ".partial-";  // and the PID of who writes it

Result<Fd> create_file(const std::string& path) {
  Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR));
  if (!file) return fail_errno("create " + path);
  return file;
}

Result<Fd> open_file(const std::string& path) {
  // Not blocking, so that a FIFO is refused and not waited for.
  Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) return fail_errno("open " + path);
  return file;
}

Result<Fd> duplicate(int fd) {
  Fd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!copy) return fail_errno("duplicate a descriptor");
  return copy;
}

Result<void> sync(int fd, const std::string& what) {
  if (::fsync(fd) != 0) return fail_errno("write " + what + " to disk");
  return {};
}

Result<void> sync_folder(const std::string& path) {
  const Fd folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return fail_errno("open " + path);
  return sync(folder.get(), path);
}

std::string read_verified(const std::string& path) {
  const Fd file(::open((path + kVerified).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) return {};
  std::array<char, 256> content{};
  const ssize_t got = ::read(file.get(), content.data(), content.size());
  return got > 0 ? std::string(content.data(), static_cast<size_t>(got)) : std::string();
}

// Where that is not allowed, the next one verifies again.
void write_verified(const std::string& path, const std::string& content) {
  const std::string name = path + kVerified;
  const std::string fresh = name + text(".%d", ::getpid());
  const Fd file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, S_IRUSR | S_IWUSR));
  if (!file) return;
  const bool written =
      ::write(file.get(), content.data(), content.size()) == static_cast<ssize_t>(content.size());
  if (!written || ::rename(fresh.c_str(), name.c_str()) != 0) ::unlink(fresh.c_str());
}

std::string folder_of(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

void remove_partial(const std::string& partial) {
  ::unlink((partial + kState).c_str());
  ::unlink((partial + kMemory).c_str());
  ::rmdir(partial.c_str());
}

bool is_partial(std::string_view name, const std::string& of) {
  const std::string prefix = of + kPartial;
  if (!name.starts_with(prefix) || name.size() == prefix.size()) return false;
  return std::ranges::all_of(name.substr(prefix.size()),
                             [](char c) { return c >= '0' && c <= '9'; });
}

// What a save to `path` left that was killed: nobody holds its lock.
void remove_abandoned(const std::string& path) {
  const std::string of = std::filesystem::path(path).filename().string();
  std::error_code failed;
  std::filesystem::directory_iterator entry(folder_of(path), failed);
  for (; !failed && entry != std::filesystem::directory_iterator(); entry.increment(failed)) {
    if (!is_partial(entry->path().filename().string(), of)) continue;
    const Fd held = lock_draft(entry->path());
    if (held) remove_partial(entry->path());
  }
}

}  // namespace

Result<SnapshotWriter> SnapshotWriter::create(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  struct stat info{};
  if (::lstat(path.c_str(), &info) == 0) {
    return fail("save to " + path + ": it exists already: give another name");
  }
  remove_abandoned(path);
  SnapshotWriter writer(path, path + kPartial + std::to_string(::getpid()));
  if (::mkdir(writer.partial_.c_str(), S_IRWXU) != 0) {
    const int why = errno;
    writer.partial_.clear();
    return fail_errno("save to " + path, why);
  }
  writer.lock_ = lock_draft(writer.partial_);
  if (!writer.lock_) return fail("save to " + path + ": somebody else is at it");
  auto state = create_file(writer.partial_ + kState);
  if (!state) return std::unexpected(state.error());
  auto memory = create_file(writer.partial_ + kMemory);
  if (!memory) return std::unexpected(memory.error());
  writer.state_ = std::move(*state);
  writer.memory_ = std::move(*memory);
  return writer;
}

SnapshotWriter::SnapshotWriter(SnapshotWriter&& other) noexcept
    : path_(std::move(other.path_)),
      partial_(std::exchange(other.partial_, {})),
      lock_(std::move(other.lock_)),
      state_(std::move(other.state_)),
      memory_(std::move(other.memory_)) {}

SnapshotWriter::~SnapshotWriter() {
  if (!partial_.empty()) remove_partial(partial_);
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
  if (auto done = sync(memory_.get(), path_ + kMemory); !done) return done;
  if (auto done = sync(state_.get(), path_ + kState); !done) return done;
  if (auto done = sync_folder(partial_); !done) return done;
  if (::renameat2(AT_FDCWD, partial_.c_str(), AT_FDCWD, path_.c_str(), RENAME_NOREPLACE) != 0) {
    return fail_errno("save to " + path_);
  }
  partial_.clear();
  lock_.reset();
  return sync_folder(folder_of(path_));
}

Result<OpenedSnapshot> open_snapshot(const std::string& path) {
  auto state = open_file(path + kState);
  if (!state) return fail_in("snapshot " + path, state);
  auto memory = open_file(path + kMemory);
  if (!memory) return fail_in("snapshot " + path, memory);
  auto state_copy = duplicate(state->get());
  if (!state_copy) return std::unexpected(state_copy.error());
  auto memory_copy = duplicate(memory->get());
  if (!memory_copy) return std::unexpected(memory_copy.error());

  const std::string before = file_mark(memory->get()).value_or("");
  const bool known = !before.empty() && read_verified(path) == before;
  auto snapshot =
      Snapshot::open(std::move(*state_copy), std::move(*memory_copy),
                     known ? Snapshot::MemoryCheck::kTrust : Snapshot::MemoryCheck::kVerify);
  if (!snapshot) return fail_in("snapshot " + path, snapshot);
  // Not when it changed while it was read.
  if (!known && file_mark(memory->get()).value_or("") == before) write_verified(path, before);
  return OpenedSnapshot{
      .files = {.state = std::move(*state), .memory = std::move(*memory), .working_set = {}},
      .snapshot = std::move(*snapshot)};
}

}  // namespace thimble

// Opening a snapshot; see thimble/snapshot.h.
#include "thimble/snapshot.h"

#include <sys/stat.h>
#include <unistd.h>

#include "devices/text.h"
#include "vmm/snapshot/contents.h"

namespace thimble {

namespace {

// The file is read once into memory of our own: nobody can change it between check and use.
Result<std::vector<uint8_t>> read_state_file(int fd) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return fail_errno("look at it");
  if (!S_ISREG(info.st_mode)) return fail("it is not a regular file");
  if (static_cast<uint64_t>(info.st_size) > kMaxStateFile) {
    return fail(text("it has %lld bytes: not a state file", static_cast<long long>(info.st_size)));
  }
  std::vector<uint8_t> bytes(static_cast<size_t>(info.st_size));
  size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t got =
        ::pread(fd, bytes.data() + have, bytes.size() - have, static_cast<off_t>(have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("read it");
    if (got == 0) break;
    have += static_cast<size_t>(got);
  }
  bytes.resize(have);
  return bytes;
}

}  // namespace

Snapshot::Snapshot(std::unique_ptr<Contents> contents) : contents_(std::move(contents)) {}
Snapshot::~Snapshot() = default;

const SnapshotFacts& Snapshot::facts() const { return contents_->facts; }

Result<std::shared_ptr<const Snapshot>> Snapshot::open(Fd state, Fd memory, MemoryCheck check) {
  const auto bytes = read_state_file(state.get());
  if (!bytes) {
    return fail_as(ErrorKind::kCorrupt, fail_in("the snapshot's state file", bytes).error());
  }
  auto contents = std::make_unique<Contents>();
  auto read = SnapshotState::read(*bytes, &contents->facts);
  if (!read) {
    return fail_as(ErrorKind::kCorrupt, fail_in("the snapshot's state file", read).error());
  }
  const MemoryFacts& facts = read->memory;
  auto whole = check == MemoryCheck::kVerify ? verify_memory_file(memory.get(), facts)
                                             : check_memory_size(memory.get(), facts);
  if (!whole) return fail_as(ErrorKind::kCorrupt, whole.error());
  contents->state = std::move(*read);
  contents->memory = std::move(memory);
  // The sections' sizes, for people.
  if (auto sections = read_sections(*bytes)) {
    for (const Section& section : *sections) {
      contents->facts.parts.push_back({section.name, section.version, section.payload.size()});
    }
  }
  return std::shared_ptr<const Snapshot>(new Snapshot(std::move(contents)));
}

}  // namespace thimble

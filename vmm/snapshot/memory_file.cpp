// See memory_file.h.
#include "vmm/snapshot/memory_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "devices/text.h"

namespace thimble {

namespace {

constexpr size_t kPage = 4096;
constexpr size_t kReadAtOnce = 1UL << 20;
constexpr size_t kMaxWrite = 8UL << 20;

bool is_zero(const uint8_t* page) {
  uint64_t first = 0;
  std::memcpy(&first, page, sizeof(first));
  // The page equals itself shifted by one word: all words are equal.
  return first == 0 && std::memcmp(page, page + sizeof(first), kPage - sizeof(first)) == 0;
}

void add_page(MemoryFacts& facts, Digest& digest, uint64_t number, const uint8_t* page) {
  ++facts.stored_pages;
  digest.add(number);
  digest.add(std::span(page, kPage));
}

Result<void> write_at(int fd, std::span<const uint8_t> bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t written =
        ::pwrite(fd, bytes.data(), std::min(bytes.size(), kMaxWrite), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return fail_errno("write the snapshot's memory file");
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return {};
}

Result<void> read_at(int fd, std::span<uint8_t> into, uint64_t offset) {
  while (!into.empty()) {
    const ssize_t got = ::pread(fd, into.data(), into.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("read the snapshot's memory file");
    if (got == 0) return fail("the snapshot's memory file was cut while it was read");
    into = into.subspan(static_cast<size_t>(got));
    offset += static_cast<uint64_t>(got);
  }
  return {};
}

// The next part of the file that has data: [start, end), whole pages; both `size` when none is
// left. A file system that knows no holes says that all is data.
struct Extent {
  uint64_t start = 0;
  uint64_t end = 0;
};
Extent next_data(int fd, uint64_t from, uint64_t size) {
  const off_t start = ::lseek(fd, static_cast<off_t>(from), SEEK_DATA);
  if (start < 0) return errno == ENXIO ? Extent{size, size} : Extent{from, size};
  const off_t end = ::lseek(fd, start, SEEK_HOLE);
  const auto round = [](off_t value) { return static_cast<uint64_t>(value) / kPage * kPage; };
  return {.start = round(start),
          .end = end < 0 ? size : std::min(size, round(end + static_cast<off_t>(kPage) - 1))};
}

}  // namespace

void MemoryFacts::describe(StateVisitor& visitor) {
  visitor.field("bytes", bytes);
  visitor.field("stored_pages", stored_pages);
  for (uint32_t& lane : digest) visitor.field("digest", lane);
}

// Pages that follow one another go out in one call.
Result<MemoryFacts> write_memory_file(int fd, std::span<const uint8_t> memory) {
  MemoryFacts facts;
  Digest digest;
  facts.bytes = memory.size();
  if (::ftruncate(fd, static_cast<off_t>(memory.size())) != 0) {
    return fail_errno("make room for the snapshot's memory file");
  }
  size_t run = 0;  // where the pages begin that are not written yet
  for (size_t at = 0; at < memory.size(); at += kPage) {
    const uint8_t* page = memory.data() + at;
    const bool zero = is_zero(page);
    if (!zero) add_page(facts, digest, at / kPage, page);
    if (zero || at - run >= kMaxWrite) {
      if (auto done = write_at(fd, memory.subspan(run, at - run), run); !done) {
        return std::unexpected(done.error());
      }
      run = zero ? at + kPage : at;
    }
  }
  if (auto done = write_at(fd, memory.subspan(run), run); !done) {
    return std::unexpected(done.error());
  }
  facts.digest = digest.value();
  return facts;
}

Result<void> check_memory_size(int fd, const MemoryFacts& facts) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return fail_errno("look at the snapshot's memory file");
  if (!S_ISREG(info.st_mode)) return fail("the snapshot's memory file is not a regular file");
  if (static_cast<uint64_t>(info.st_size) == facts.bytes) return {};
  return fail(ErrorKind::kCorrupt,
              text("the snapshot's memory file has %llu bytes, the machine had %llu of memory: "
                   "the file was cut, or belongs to another snapshot",
                   static_cast<unsigned long long>(info.st_size),
                   static_cast<unsigned long long>(facts.bytes)));
}

Result<void> verify_memory_file(int fd, const MemoryFacts& facts) {
  if (auto sized = check_memory_size(fd, facts); !sized) return sized;
  MemoryFacts found;
  Digest digest;
  std::vector<uint8_t> buffer(kReadAtOnce);
  for (Extent data = next_data(fd, 0, facts.bytes); data.start < facts.bytes;
       data = next_data(fd, data.end, facts.bytes)) {
    for (uint64_t at = data.start; at < data.end; at += kReadAtOnce) {
      const auto piece = std::span(buffer).first(std::min<uint64_t>(kReadAtOnce, data.end - at));
      if (auto done = read_at(fd, piece, at); !done) return done;
      for (size_t page = 0; page < piece.size(); page += kPage) {
        const uint8_t* bytes = piece.data() + page;
        if (!is_zero(bytes)) add_page(found, digest, (at + page) / kPage, bytes);
      }
    }
  }
  if (found.stored_pages == facts.stored_pages && digest.value() == facts.digest) return {};
  return fail("the snapshot's memory file was altered: its digest does not fit");
}

}  // namespace thimble

// See stash.h.
#include "vmm/reclaim/stash.h"

#include <sys/mman.h>

#include <cstring>
#include <utility>

namespace thimble {

namespace {

struct Entry {
  uint32_t page;
  uint32_t length;
};
constexpr size_t kMaxEntry = sizeof(Entry) + kMaxDifference;

}  // namespace

Result<Stash> Stash::make(size_t pages) {
  const size_t room = (pages + 1) * kMaxEntry;
  void* start = ::mmap(nullptr, room, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED)
    return fail_errno("make room for the pages of a VM whose memory is reclaimed");
  // Otherwise the first byte may take 2 MiB; and a core dump must not hold what the guest knows.
  ::madvise(start, room, MADV_NOHUGEPAGE);
  ::madvise(start, room, MADV_DONTDUMP);
  return Stash(static_cast<uint8_t*>(start), room);
}

Stash::Stash(Stash&& other) noexcept
    : start_(std::exchange(other.start_, nullptr)), room_(other.room_), used_(other.used_) {}

Stash::~Stash() {
  if (start_ != nullptr) ::munmap(start_, room_);
}

void Stash::add(uint32_t page, PageView before, PageView now) {
  uint8_t* const at = start_ + used_;
  const std::span<uint8_t, kMaxDifference> difference(at + sizeof(Entry), kMaxDifference);
  const Entry entry{.page = page,
                    .length = static_cast<uint32_t>(write_difference(before, now, difference))};
  if (entry.length == 0) return;
  std::memcpy(at, &entry, sizeof entry);
  used_ += sizeof entry + entry.length;
}

void Stash::put_back(std::span<uint8_t> memory) const {
  for (size_t at = 0; at < used_;) {
    Entry entry{};
    std::memcpy(&entry, start_ + at, sizeof entry);
    at += sizeof entry;
    apply_difference({start_ + at, entry.length},
                     memory.subspan(entry.page * kPageBytes).first<kPageBytes>());
    at += entry.length;
  }
}

}  // namespace thimble

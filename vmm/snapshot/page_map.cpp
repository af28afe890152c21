// See page_map.h.
#include "vmm/snapshot/page_map.h"

#include <unistd.h>

#include <algorithm>
#include <array>

namespace thimble {

namespace {

constexpr uint64_t kPage = 4096;
constexpr size_t kAskAtOnce = 1024;  // pages

// Of an entry.
constexpr uint64_t kPresent = uint64_t{1} << 63;
constexpr uint64_t kSwapped = uint64_t{1} << 62;
constexpr uint64_t kOfFile = uint64_t{1} << 61;

}  // namespace

// A page of the template becomes a page of nobody's file when it is written to. With the same
// content too: processors mark the guest's page tables at each walk, and these marks stand already.
Result<WorkingSet> touched_pages(std::span<const uint8_t> memory, int page_map) {
  WorkingSet set(memory.size() / kPage);
  std::array<uint64_t, kAskAtOnce> entries{};
  const uint64_t start = reinterpret_cast<uintptr_t>(memory.data()) / kPage;
  for (uint64_t first = 0; first < set.pages; first += kAskAtOnce) {
    const size_t count = std::min<uint64_t>(kAskAtOnce, set.pages - first);
    const size_t bytes = count * sizeof(uint64_t);
    const auto at = static_cast<off_t>((start + first) * sizeof(uint64_t));
    const ssize_t got = ::pread(page_map, entries.data(), bytes, at);
    if (got < 0) return fail_errno("read the page map");
    if (got != static_cast<ssize_t>(bytes)) return fail("the page map ends early");
    for (size_t i = 0; i < count; ++i) {
      if ((entries[i] & (kPresent | kSwapped)) == 0) continue;
      set.add(first + i, (entries[i] & kOfFile) == 0);
    }
  }
  return set;
}

}  // namespace thimble

// Mapping of guest memory; see memory_map.h.
#include "vmm/memory_map.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "devices/text.h"
#include "vmm/snapshot/working_set.h"

namespace thimble {

namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kHugePage = 2ULL << 20;
constexpr uint64_t kMinimum = 16ULL << 20;

uint64_t host_memory() {
  return static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
         static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

Result<HostMemory> HostMemory::map(uint64_t bytes) {
  return map_aligned(-1, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, bytes);
}

// MAP_NORESERVE: a clone is promised memory only for what it changes.
Result<HostMemory> HostMemory::view(int file, uint64_t bytes) {
  return map_aligned(file, MAP_PRIVATE | MAP_NORESERVE, bytes);
}

Result<HostMemory> HostMemory::map_aligned(int file, int flags, uint64_t bytes) {
  if (bytes < kMinimum || bytes % kPage != 0) {
    return fail(
        ErrorKind::kInvalid,
        text("memory of %lu bytes: must be a multiple of 4 KiB and at least 16 MiB", bytes));
  }
  if (bytes > host_memory()) {
    return fail(ErrorKind::kInvalid, text("memory of %lu MiB: this host has %lu MiB: ask for less",
                                          bytes >> 20, host_memory() >> 20));
  }
  // A place larger than needed, where the memory fits at an aligned address; then the rest of the
  // place is given back.
  const uint64_t reserved = bytes + kHugePage;
  void* place =
      mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (place == MAP_FAILED) return fail_errno(text("map %lu MiB of guest memory", bytes >> 20));
  auto* base = static_cast<uint8_t*>(place);
  const uint64_t skip = (kHugePage - reinterpret_cast<uintptr_t>(base) % kHugePage) % kHugePage;
  void* mapped = mmap(base + skip, bytes, PROT_READ | PROT_WRITE, flags | MAP_FIXED, file, 0);
  if (mapped == MAP_FAILED) {
    const int error = errno;
    munmap(place, reserved);
    errno = error;
    return fail_errno(text("map %lu MiB of guest memory", bytes >> 20));
  }
  if (skip != 0) munmap(base, skip);
  if (skip != kHugePage) munmap(base + skip + bytes, kHugePage - skip);
  // The host's core dumps must not hold what the guest's programs know.
  madvise(base + skip, bytes, MADV_DONTDUMP);
  return HostMemory(base + skip, bytes);
}

Result<void> HostMemory::show_file(int file) {
  void* mapped = mmap(start_, bytes_, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, file, 0);
  if (mapped == MAP_FAILED) return fail_errno("map the snapshot's memory file");
  madvise(start_, bytes_, MADV_DONTDUMP);
  return {};
}

void HostMemory::populate(std::span<const uint64_t> pages, int advice) {
  for_each_run(pages, [&](uint64_t first, uint64_t count) {
    madvise(start_ + first * kPage, count * kPage, advice);
  });
}

void HostMemory::forget(uint64_t offset, uint64_t bytes) {
  madvise(start_ + offset, bytes, MADV_DONTNEED);
}

HostMemory::HostMemory(uint8_t* start, uint64_t bytes) : start_(start), bytes_(bytes) {
  const uint64_t low = std::min<uint64_t>(bytes, map::kHoleStart);
  ranges_.push_back({.base = 0, .size = low, .host = start});
  if (bytes > low) {
    ranges_.push_back({.base = map::kHoleEnd, .size = bytes - low, .host = start + low});
  }
}

HostMemory::HostMemory(HostMemory&& other) noexcept
    : start_(std::exchange(other.start_, nullptr)),
      bytes_(other.bytes_),
      ranges_(std::move(other.ranges_)) {}

HostMemory::~HostMemory() {
  if (start_ != nullptr) munmap(start_, bytes_);
}

}  // namespace thimble

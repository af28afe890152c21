// Guest memory for loaders, as big as a test wants: pages that nobody touches cost nothing.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "devices/fd.h"
#include "devices/guest_memory.h"
#include "vmm/memory_map.h"

namespace thimble::test {

// Ranges as HostMemory lays them out, without its look at how much the host has.
class TestMemory {
 public:
  explicit TestMemory(uint64_t bytes) : size_(bytes), memory(map(bytes)) {}
  TestMemory(const TestMemory&) = delete;
  TestMemory& operator=(const TestMemory&) = delete;
  ~TestMemory() { munmap(start_, size_); }

  // Nothing was written to [gpa, gpa + size).
  [[nodiscard]] bool untouched(Gpa gpa, uint64_t size) const {
    const uint8_t* from = memory.at(gpa, size);
    if (from == nullptr) return false;
    for (uint64_t i = 0; i < size; ++i) {
      if (from[i] != 0) return false;
    }
    return true;
  }

 private:
  GuestMemory map(uint64_t bytes) {
    void* mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) std::abort();
    start_ = static_cast<uint8_t*>(mapped);
    const uint64_t low = std::min<uint64_t>(bytes, map::kHoleStart);
    std::vector<MemoryRange> ranges = {{.base = 0, .size = low, .host = start_}};
    if (bytes > low) {
      ranges.push_back({.base = map::kHoleEnd, .size = bytes - low, .host = start_ + low});
    }
    return GuestMemory(std::move(ranges));
  }
  uint8_t* start_ = nullptr;
  uint64_t size_;

 public:
  const GuestMemory memory;
};

// A folder that goes with everything in it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    char name[] = "/tmp/thimble-test.XXXXXX";
    if (mkdtemp(name) == nullptr) std::abort();
    path_ = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  [[nodiscard]] std::string operator/(std::string_view name) const {
    return path_ + "/" + std::string(name);
  }

 private:
  std::string path_;
};

inline Fd file_with(std::span<const uint8_t> bytes) {
  Fd fd(memfd_create("test", MFD_CLOEXEC));
  if (::write(fd.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
    std::abort();
  }
  return fd;
}

inline std::string path_of(const Fd& fd) { return "/proc/self/fd/" + std::to_string(fd.get()); }

}  // namespace thimble::test

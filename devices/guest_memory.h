// Guest physical memory as devices see it: ranges of the VM's address space (GPA) that host memory
// backs. Every access by a device goes through here and is checked, since every address comes from
// the guest. The guest may change any byte at any time: read a value once, then judge the copy.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

namespace thimble {

using Gpa = uint64_t;

struct MemoryRange {
  Gpa base = 0;
  uint64_t size = 0;        // bytes
  uint8_t* host = nullptr;  // first byte; not owned
};

// Does not own the memory. Immutable after construction, so any thread may use it.
class GuestMemory {
 public:
  // Ranges must not overlap and must not wrap the address space; whoever maps memory ensures it.
  explicit GuestMemory(std::vector<MemoryRange> ranges) : ranges_(std::move(ranges)) {}

  // Host address of [gpa, gpa + size), or nullptr unless it lies wholly in one range.
  [[nodiscard]] uint8_t* at(Gpa gpa, uint64_t size) const {
    for (const MemoryRange& range : ranges_) {
      if (gpa < range.base) continue;
      const uint64_t offset = gpa - range.base;
      if (offset < range.size && size <= range.size - offset) return range.host + offset;
    }
    return nullptr;
  }

  // One value, copied once. T is a plain struct or integer, little-endian as the host is.
  template <class T>
  [[nodiscard]] std::optional<T> load(Gpa gpa) const {
    static_assert(std::is_trivially_copyable_v<T>);
    const uint8_t* from = at(gpa, sizeof(T));
    if (from == nullptr) return std::nullopt;
    T value;
    std::memcpy(&value, from, sizeof(T));
    // Judge the copy, not the guest's memory: the compiler must not read it a second time.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    return value;
  }

  template <class T>
  [[nodiscard]] bool store(Gpa gpa, const T& value) const {
    static_assert(std::is_trivially_copyable_v<T>);
    uint8_t* to = at(gpa, sizeof(T));
    if (to == nullptr) return false;
    std::memcpy(to, &value, sizeof(T));
    return true;
  }

  [[nodiscard]] std::span<const MemoryRange> ranges() const { return ranges_; }

 private:
  std::vector<MemoryRange> ranges_;
};

}  // namespace thimble

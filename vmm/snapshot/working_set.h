// The working set of a template: the pages of its guest's memory that a clone touches until it has
// answered its first requests. One clone records it, later ones have these pages prefaulted at once
// instead of one by one, each by a fault.
//
//   header    8  magic "THMBWSET"
//             4  format version
//             4  CRC-32C of all that follows
//             8  number of pages of the guest's memory, of 4 KiB
//   touched   a bit for each page, in words of 64, least significant bit first
//   written   the same: those of them that the clone has changed
//
// All numbers are little-endian. A set is advice: whatever it says, a clone computes the same. So
// one that anybody may have written is read with care, and is not otherwise a danger.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "devices/result.h"

namespace thimble {

struct WorkingSet {
  // More would cost a clone more memory than the faults cost it time.
  static constexpr uint64_t kMaxWritten = 8192;
  static constexpr uint64_t kMaxTouched = 65536;

  explicit WorkingSet(uint64_t pages_in);
  uint64_t pages;
  std::vector<uint64_t> touched;
  std::vector<uint64_t> written;  // a subset

  void add(uint64_t page, bool changed);
  void add(const WorkingSet& other);  // of the same memory
  [[nodiscard]] uint64_t count_touched() const;
  [[nodiscard]] uint64_t count_written() const;

  [[nodiscard]] std::vector<uint8_t> write() const;
  // `file` may be anything; it must be about a memory of `pages`.
  static Result<WorkingSet> read(std::span<const uint8_t> file, uint64_t pages);
};

// Neighbouring pages at once: `first` and how many.
void for_each_run(std::span<const uint64_t> bits,
                  const std::function<void(uint64_t first, uint64_t count)>& run);

}  // namespace thimble

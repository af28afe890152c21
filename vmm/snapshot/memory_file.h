// The memory file of a snapshot: byte n of the file is byte n of the guest's memory (the range
// above the 4 GiB hole follows the one below), so that it can be mapped as it is. Pages of zeros
// are holes. The digest covers the other pages with their numbers, so it does not change when a
// copying program fills the holes.
#pragma once

#include <cstdint>
#include <span>

#include "devices/result.h"
#include "devices/state.h"
#include "vmm/snapshot/checksum.h"

namespace thimble {

struct MemoryFacts {
  uint64_t bytes = 0;         // of the whole memory
  uint64_t stored_pages = 0;  // of 4 KiB, that are not all zero
  Digest::Value digest{};
  void describe(StateVisitor& visitor);
};

// Writes `memory` (whole pages, not changing meanwhile) into the empty file `fd`.
Result<MemoryFacts> write_memory_file(int fd, std::span<const uint8_t> memory);

// Cheap: the file's length is right.
Result<void> check_memory_size(int fd, const MemoryFacts& facts);
// Reads all of it.
Result<void> verify_memory_file(int fd, const MemoryFacts& facts);

}  // namespace thimble

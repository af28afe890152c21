// Checksums against accidents: a cut, a flipped bit, a lost block. They do not protect against an
// attacker, who can compute them too; docs/snapshots.md says what does.
//
// CRC-32C (Castagnoli), because every x86-64 CPU since 2008 computes it in hardware, eight bytes at
// a time. The digest of a large file is four of them over interleaved words, which is faster (the
// CPU works on all four at once) and has 128 bits.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace thimble {

uint32_t crc32c(std::span<const uint8_t> bytes);

class Digest {
 public:
  using Value = std::array<uint32_t, 4>;

  // Whole blocks of 32 bytes; the pieces may be cut anywhere between blocks.
  void add(std::span<const uint8_t> blocks);
  void add(uint64_t number);
  [[nodiscard]] const Value& value() const { return lanes_; }

 private:
  Value lanes_{~0U, ~0U, ~0U, ~0U};
};

}  // namespace thimble

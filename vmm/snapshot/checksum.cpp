// See checksum.h.
#include "vmm/snapshot/checksum.h"

#include <nmmintrin.h>

#include <cstring>

namespace thimble {

namespace {

constexpr uint32_t kPolynomial = 0x82f63b78;  // reflected

// For CPUs without SSE 4.2: the byte-wise table.
constexpr std::array<uint32_t, 256> kTable = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < table.size(); ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? kPolynomial : 0);
    table[i] = value;
  }
  return table;
}();

uint32_t table_byte(uint32_t crc, uint8_t byte) { return kTable[(crc ^ byte) & 0xff] ^ (crc >> 8); }

uint64_t word_at(const uint8_t* from) {
  uint64_t word = 0;
  std::memcpy(&word, from, sizeof(word));
  return word;
}

uint32_t table_word(uint32_t crc, uint64_t word) {
  for (int i = 0; i < 8; ++i, word >>= 8) crc = table_byte(crc, static_cast<uint8_t>(word));
  return crc;
}

[[gnu::target("sse4.2")]] uint32_t hardware_word(uint32_t crc, uint64_t word) {
  return static_cast<uint32_t>(_mm_crc32_u64(crc, word));
}

[[gnu::target("sse4.2")]] void hardware_blocks(Digest::Value& lanes, const uint8_t* at,
                                               const uint8_t* end) {
  uint64_t a = lanes[0];
  uint64_t b = lanes[1];
  uint64_t c = lanes[2];
  uint64_t d = lanes[3];
  for (; at < end; at += 32) {
    a = _mm_crc32_u64(a, word_at(at));
    b = _mm_crc32_u64(b, word_at(at + 8));
    c = _mm_crc32_u64(c, word_at(at + 16));
    d = _mm_crc32_u64(d, word_at(at + 24));
  }
  lanes = {static_cast<uint32_t>(a), static_cast<uint32_t>(b), static_cast<uint32_t>(c),
           static_cast<uint32_t>(d)};
}

bool has_hardware() { return __builtin_cpu_supports("sse4.2") != 0; }

}  // namespace

uint32_t crc32c(std::span<const uint8_t> bytes) {
  uint32_t crc = ~0U;
  size_t at = 0;
  if (has_hardware()) {
    for (; bytes.size() - at >= 8; at += 8) crc = hardware_word(crc, word_at(bytes.data() + at));
  }
  for (; at < bytes.size(); ++at) crc = table_byte(crc, bytes[at]);
  return ~crc;
}

void Digest::add(std::span<const uint8_t> blocks) {
  const uint8_t* at = blocks.data();
  const uint8_t* end = at + blocks.size() / 32 * 32;
  if (has_hardware()) return hardware_blocks(lanes_, at, end);
  for (; at < end; at += 32) {
    for (size_t lane = 0; lane < 4; ++lane) {
      lanes_[lane] = table_word(lanes_[lane], word_at(at + 8 * lane));
    }
  }
}

void Digest::add(uint64_t number) {
  std::array<uint64_t, 4> block{number, number, number, number};
  add(std::span(reinterpret_cast<const uint8_t*>(block.data()), sizeof(block)));
}

}  // namespace thimble

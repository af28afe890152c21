// See byte_ring.h.
#include "devices/vsock/byte_ring.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace thimble {

void ByteRing::append(std::span<const uint8_t> bytes) {
  if (bytes.empty()) return;
  if (bytes.size() > storage_.size() - size_) grow(size_ + bytes.size());
  const size_t tail = (head_ + size_) & (storage_.size() - 1);
  const size_t first = std::min(bytes.size(), storage_.size() - tail);
  std::memcpy(storage_.data() + tail, bytes.data(), first);
  std::memcpy(storage_.data(), bytes.data() + first, bytes.size() - first);
  size_ += bytes.size();
}

std::array<iovec, 2> ByteRing::pieces() {
  const size_t first = std::min(size_, storage_.size() - head_);
  return {iovec{storage_.data() + head_, first}, iovec{storage_.data(), size_ - first}};
}

void ByteRing::consume(size_t count) {
  size_ -= std::min(count, size_);
  if (size_ == 0) return clear();
  head_ = (head_ + count) & (storage_.size() - 1);
}

void ByteRing::clear() {
  std::vector<uint8_t>().swap(storage_);
  head_ = 0;
  size_ = 0;
}

void ByteRing::grow(size_t needed) {
  constexpr size_t kSmallest = 4096;
  std::vector<uint8_t> larger(std::bit_ceil(std::max(needed, kSmallest)));
  size_t at = 0;
  for (const iovec& piece : pieces()) {
    if (piece.iov_len == 0) continue;
    std::memcpy(larger.data() + at, piece.iov_base, piece.iov_len);
    at += piece.iov_len;
  }
  storage_.swap(larger);
  head_ = 0;
}

}  // namespace thimble

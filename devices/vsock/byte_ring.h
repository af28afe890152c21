// Bytes of a stream that wait to be written, oldest first. Holds memory only while it holds bytes:
// most streams never need it, since the host's socket usually takes everything at once.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace thimble {

class ByteRing {
 public:
  [[nodiscard]] size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }

  // Grows as needed: whoever appends keeps to a limit (here: the stream's receive window).
  void append(std::span<const uint8_t> bytes);

  // The bytes in order, in one or two pieces; an unused piece has length 0. Valid until a change.
  [[nodiscard]] std::array<iovec, 2> pieces();
  // Forgets the oldest `count` bytes, at most size().
  void consume(size_t count);
  void clear();

 private:
  void grow(size_t needed);

  std::vector<uint8_t> storage_;  // its size is a power of two
  size_t head_ = 0;               // index of the oldest byte
  size_t size_ = 0;
};

}  // namespace thimble

// How a fuzzer's bytes become a sequence of actions: values are taken off the front, and zeros
// follow the end, so that every input means something and a mutation changes one value.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <span>
#include <type_traits>

// What must hold whatever the input was. Unlike assert() it is there in every build.
#define FUZZ_CHECK(condition)                                                             \
  do {                                                                                    \
    if (!(condition)) {                                                                   \
      std::fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
      __builtin_trap();                                                                   \
    }                                                                                     \
  } while (false)

namespace thimble::fuzz {

class Input {
 public:
  Input(const uint8_t* data, size_t size) : rest_(data, size) {}

  [[nodiscard]] bool empty() const { return rest_.empty(); }

  template <class T>
  T take() {
    static_assert(std::is_trivially_copyable_v<T>);
    T value{};
    const auto part = bytes(sizeof(T));
    if (!part.empty()) std::memcpy(&value, part.data(), part.size());
    return value;
  }
  // 0 to bound - 1.
  uint32_t below(uint32_t bound) {
    return bound <= 256 ? take<uint8_t>() % bound : take<uint32_t>() % bound;
  }
  bool coin() { return (take<uint8_t>() & 1) != 0; }
  // At most `count` of what is left.
  std::span<const uint8_t> bytes(size_t count) {
    const auto part = rest_.first(std::min(count, rest_.size()));
    rest_ = rest_.subspan(part.size());
    return part;
  }
  std::span<const uint8_t> all() { return bytes(rest_.size()); }

 private:
  std::span<const uint8_t> rest_;
};

}  // namespace thimble::fuzz

// See page_difference.h.
#include "vmm/reclaim/page_difference.h"

#include <cstring>

namespace thimble {

namespace {

constexpr size_t kWord = sizeof(uint64_t);
constexpr uint16_t kWords = kPageBytes / kWord;

struct Run {
  uint16_t first;
  uint16_t count;
};

bool same_word(PageView a, PageView b, size_t word) {
  return std::memcmp(&a[word * kWord], &b[word * kWord], kWord) == 0;
}

size_t put(Run run, PageView now, uint8_t* to) {
  std::memcpy(to, &run, sizeof run);
  std::memcpy(to + sizeof run, &now[run.first * kWord], run.count * kWord);
  return sizeof run + run.count * kWord;
}

}  // namespace

size_t write_difference(PageView before, PageView now,
                        std::span<uint8_t, kMaxDifference> difference) {
  size_t length = 0;
  for (uint16_t word = 0; word < kWords;) {
    if (same_word(before, now, word)) {
      ++word;
      continue;
    }
    const uint16_t first = word;
    while (word < kWords && !same_word(before, now, word)) ++word;
    const Run run{.first = first, .count = static_cast<uint16_t>(word - first)};
    if (length + sizeof run + run.count * kWord > kPageBytes) {
      return put({.first = 0, .count = kWords}, now, difference.data());
    }
    length += put(run, now, difference.data() + length);
  }
  return length;
}

void apply_difference(std::span<const uint8_t> difference, std::span<uint8_t, kPageBytes> page) {
  while (!difference.empty()) {
    Run run{};
    std::memcpy(&run, difference.data(), sizeof run);
    std::memcpy(&page[run.first * kWord], difference.data() + sizeof run, run.count * kWord);
    difference = difference.subspan(sizeof run + run.count * kWord);
  }
}

}  // namespace thimble

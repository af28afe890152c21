// See working_set.h.
#include "vmm/snapshot/working_set.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <string_view>

#include "devices/text.h"
#include "vmm/snapshot/checksum.h"

namespace thimble {

namespace {

constexpr std::string_view kMagic = "THMBWSET";
constexpr uint32_t kVersion = 1;
constexpr uint64_t kBits = 64;

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t checksum;  // of `pages` and the rest
  uint64_t pages;
};
constexpr size_t kChecked = offsetof(Header, pages);

uint64_t words_for(uint64_t pages) { return (pages + kBits - 1) / kBits; }

uint64_t count_bits(std::span<const uint64_t> words) {
  return std::accumulate(words.begin(), words.end(), uint64_t{0}, [](uint64_t sum, uint64_t word) {
    return sum + static_cast<uint64_t>(std::popcount(word));
  });
}

std::span<const uint8_t> raw(const std::vector<uint64_t>& words) {
  return {reinterpret_cast<const uint8_t*>(words.data()), words.size() * sizeof(uint64_t)};
}

// Of the last word, bits that stand for no page.
uint64_t beyond(uint64_t pages) { return pages % kBits == 0 ? 0 : ~uint64_t{0} << (pages % kBits); }

}  // namespace

WorkingSet::WorkingSet(uint64_t pages_in)
    : pages(pages_in), touched(words_for(pages_in)), written(words_for(pages_in)) {}

void WorkingSet::add(uint64_t page, bool changed) {
  const uint64_t bit = uint64_t{1} << (page % kBits);
  touched[page / kBits] |= bit;
  if (changed) written[page / kBits] |= bit;
}

void WorkingSet::add(const WorkingSet& other) {
  for (size_t i = 0; i < touched.size(); ++i) {
    touched[i] |= other.touched[i];
    written[i] |= other.written[i];
  }
}

uint64_t WorkingSet::count_touched() const { return count_bits(touched); }
uint64_t WorkingSet::count_written() const { return count_bits(written); }

std::vector<uint8_t> WorkingSet::write() const {
  Header header{.magic = {}, .version = kVersion, .checksum = 0, .pages = pages};
  std::memcpy(header.magic, kMagic.data(), sizeof header.magic);
  const auto* start = reinterpret_cast<const uint8_t*>(&header);
  std::vector<uint8_t> file(start, start + sizeof header);
  for (const std::vector<uint64_t>* words : {&touched, &written}) {
    const auto bytes = raw(*words);
    file.insert(file.end(), bytes.begin(), bytes.end());
  }
  const uint32_t checksum = crc32c(std::span(file).subspan(kChecked));
  std::memcpy(file.data() + offsetof(Header, checksum), &checksum, sizeof checksum);
  return file;
}

Result<WorkingSet> WorkingSet::read(std::span<const uint8_t> file, uint64_t pages) {
  Header header{};
  const uint64_t bytes = words_for(pages) * sizeof(uint64_t);
  if (file.size() != sizeof header + 2 * bytes) {
    return fail(text("a working set of %zu bytes: not of this memory", file.size()));
  }
  std::memcpy(&header, file.data(), sizeof header);
  if (std::string_view(header.magic, sizeof header.magic) != kMagic || header.version != kVersion) {
    return fail("no working set of this version");
  }
  if (header.pages != pages) return fail("a working set of another memory");
  if (header.checksum != crc32c(file.subspan(kChecked))) return fail("the working set is altered");
  WorkingSet set(pages);
  std::memcpy(set.touched.data(), file.data() + sizeof header, bytes);
  std::memcpy(set.written.data(), file.data() + sizeof header + bytes, bytes);
  for (size_t i = 0; i < set.touched.size(); ++i) {
    const uint64_t none = i + 1 == set.touched.size() ? beyond(pages) : 0;
    if ((set.written[i] & ~set.touched[i]) != 0 || (set.touched[i] & none) != 0) {
      return fail("the working set contradicts itself");
    }
  }
  if (set.count_written() > kMaxWritten || set.count_touched() > kMaxTouched) {
    return fail(text("the working set has %lu pages: too many to prefault", set.count_touched()));
  }
  return set;
}

void for_each_run(std::span<const uint64_t> bits,
                  const std::function<void(uint64_t first, uint64_t count)>& run) {
  const uint64_t end = bits.size() * kBits;
  const auto is_set = [&](uint64_t page) {
    return (bits[page / kBits] >> (page % kBits) & 1) != 0;
  };
  for (uint64_t page = 0; page < end; ++page) {
    if (bits[page / kBits] == 0) {
      page |= kBits - 1;
      continue;
    }
    if (!is_set(page)) continue;
    const uint64_t first = page;
    while (page < end && is_set(page)) ++page;
    run(first, page - first);
  }
}

}  // namespace thimble

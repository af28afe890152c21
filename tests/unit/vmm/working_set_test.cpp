// Files of working sets: written, read back, and what others may have made of them.
#include "vmm/snapshot/working_set.h"

#include <gtest/gtest.h>

#include <cstring>
#include <utility>

#include "vmm/snapshot/checksum.h"

namespace thimble {
namespace {

constexpr uint64_t kPages = 1000;
constexpr size_t kHeader = 24;
constexpr size_t kChecksumAt = 12;
constexpr size_t kCheckedFrom = 16;

WorkingSet some_set() {
  WorkingSet set(kPages);
  for (const uint64_t page : {0, 1, 63, 64, 500, 999}) set.add(page, page >= 64);
  return set;
}

// The checksum made right again: it keeps nobody out.
void sign(std::vector<uint8_t>& file) {
  const uint32_t checksum = crc32c(std::span(file).subspan(kCheckedFrom));
  std::memcpy(file.data() + kChecksumAt, &checksum, sizeof checksum);
}

std::vector<std::pair<uint64_t, uint64_t>> runs_of(const std::vector<uint64_t>& bits) {
  std::vector<std::pair<uint64_t, uint64_t>> runs;
  for_each_run(bits, [&](uint64_t first, uint64_t count) { runs.emplace_back(first, count); });
  return runs;
}

TEST(WorkingSet, ComesBackAsItWasWritten) {
  const WorkingSet set = some_set();
  const auto read = WorkingSet::read(set.write(), kPages);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->touched, set.touched);
  EXPECT_EQ(read->written, set.written);
  EXPECT_EQ(read->count_touched(), 6U);
  EXPECT_EQ(read->count_written(), 3U);
}

TEST(WorkingSet, RunsAreNeighboursAcrossWordsToo) {
  WorkingSet set(kPages);
  EXPECT_TRUE(runs_of(set.touched).empty());
  for (uint64_t page = 60; page < 130; ++page) set.add(page, false);
  set.add(132, false);
  set.add(999, false);
  using Run = std::pair<uint64_t, uint64_t>;
  EXPECT_EQ(runs_of(set.touched), (std::vector<Run>{{60, 70}, {132, 1}, {999, 1}}));
}

TEST(WorkingSet, AnyOtherLengthIsRefused) {
  const std::vector<uint8_t> file = some_set().write();
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_FALSE(WorkingSet::read(std::span(file).first(size), kPages)) << size;
  }
  std::vector<uint8_t> longer = file;
  longer.push_back(0);
  EXPECT_FALSE(WorkingSet::read(longer, kPages));
}

TEST(WorkingSet, AnyChangedByteIsNoticed) {
  const std::vector<uint8_t> file = some_set().write();
  for (size_t i = 0; i < file.size(); ++i) {
    std::vector<uint8_t> corrupt = file;
    corrupt[i] ^= 0x10;
    EXPECT_FALSE(WorkingSet::read(corrupt, kPages)) << i;
  }
}

TEST(WorkingSet, ThatOfAnotherMemoryIsRefused) {
  const std::vector<uint8_t> file = some_set().write();
  EXPECT_FALSE(WorkingSet::read(file, kPages + 1)) << "as many words";
  EXPECT_FALSE(WorkingSet::read(file, kPages * 2));
}

TEST(WorkingSet, AWrittenPageThatWasNotTouchedIsAContradiction) {
  std::vector<uint8_t> file = some_set().write();
  file[kHeader] &= 0xfe;  // page 0 not touched; it was not written either
  sign(file);
  EXPECT_TRUE(WorkingSet::read(file, kPages));
  file[kHeader + 8] &= 0xfe;  // page 64 was
  sign(file);
  EXPECT_FALSE(WorkingSet::read(file, kPages));
}

TEST(WorkingSet, APageBeyondTheMemoryIsRefused) {
  std::vector<uint8_t> file = some_set().write();
  const size_t last_word_of_touched = kHeader + (kPages + 63) / 64 * 8 - 8;
  file[last_word_of_touched + 7] |= 0x80;  // page 1023
  sign(file);
  EXPECT_FALSE(WorkingSet::read(file, kPages));
}

TEST(WorkingSet, OneThatIsMostOfTheMemoryIsNotBroughtIn) {
  const uint64_t pages = WorkingSet::kMaxTouched * 2;
  WorkingSet set(pages);
  for (uint64_t page = 0; page < WorkingSet::kMaxWritten; ++page) set.add(page, true);
  EXPECT_TRUE(WorkingSet::read(set.write(), pages));
  set.add(WorkingSet::kMaxWritten, true);
  EXPECT_FALSE(WorkingSet::read(set.write(), pages));
}

TEST(WorkingSet, TwoBecomeOne) {
  WorkingSet set = some_set();
  WorkingSet other(kPages);
  other.add(2, true);
  other.add(0, true);
  set.add(other);
  EXPECT_EQ(set.count_touched(), some_set().count_touched() + 1);
  EXPECT_EQ(set.count_written(), some_set().count_written() + 2);
  EXPECT_TRUE(WorkingSet::read(set.write(), kPages));
}

}  // namespace
}  // namespace thimble

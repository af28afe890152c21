// Pages as differences from the template's, and a stash of them: what comes back is what was there.
#include "vmm/reclaim/page_difference.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#include "vmm/reclaim/stash.h"

namespace thimble {
namespace {

constexpr size_t kWord = 8;
constexpr size_t kWords = kPageBytes / kWord;
using Page = std::array<uint8_t, kPageBytes>;

Page random_page(uint32_t seed) {
  std::mt19937 random(seed);
  Page page{};
  std::ranges::generate(page, [&] { return static_cast<uint8_t>(random()); });
  return page;
}

// The length of the difference; fails when it does not lead from one to the other.
size_t there_and_back(const Page& before, const Page& now) {
  std::vector<uint8_t> difference(kMaxDifference, 0xee);
  const size_t length =
      write_difference(before, now, std::span<uint8_t, kMaxDifference>(difference));
  Page page = before;
  apply_difference(std::span(difference).first(length), page);
  EXPECT_TRUE(page == now);
  EXPECT_LE(length, kMaxDifference);
  return length;
}

Page changed(Page page, const std::function<bool(size_t word)>& changes) {
  for (size_t word = 0; word < kWords; ++word) {
    if (changes(word)) page[word * kWord + word % kWord] ^= 0x5a;
  }
  return page;
}

TEST(PageDifference, OfTheSamePageIsEmpty) {
  EXPECT_EQ(there_and_back(random_page(1), random_page(1)), 0U);
}

TEST(PageDifference, OfOneWordIsShortWhereverItIs) {
  const Page before = random_page(2);
  for (size_t word = 0; word < kWords; ++word) {
    const Page now = changed(before, [&](size_t each) { return each == word; });
    EXPECT_EQ(there_and_back(before, now), 4 + kWord) << word;
  }
}

TEST(PageDifference, OfEachByteIsFound) {
  const Page before{};
  for (size_t byte = 0; byte < kPageBytes; ++byte) {
    Page now{};
    now[byte] = 1;
    EXPECT_GT(there_and_back(before, now), 0U) << byte;
  }
}

TEST(PageDifference, NeighboursAreOneRun) {
  const Page before = random_page(3);
  const Page now = changed(before, [](size_t word) { return word >= 100 && word < 140; });
  EXPECT_EQ(there_and_back(before, now), 4 + 40 * kWord);
}

TEST(PageDifference, NeedsNeverMoreThanThePageAndAHeader) {
  const Page before = random_page(4);
  EXPECT_EQ(there_and_back(before, random_page(5)), kMaxDifference);
  // Each run costs half a word more: 341 of them fill a page.
  for (size_t count = 330; count < 350; ++count) {
    const auto spread = [&](size_t word) { return word % 3 != 2 && word / 3 * 2 < count; };
    there_and_back(before, changed(before, spread));
    there_and_back(before, changed(before, [&](size_t word) { return word < count; }));
  }
  EXPECT_LE(there_and_back(before, changed(before, [](size_t word) { return word % 2 == 0; })),
            kPageBytes);
}

TEST(PageDifference, ComesBackWhateverChanged) {
  std::mt19937 random(6);
  for (int i = 0; i < 2000; ++i) {
    const uint32_t share = 1 + random() % 40;
    const Page before = random_page(random());
    there_and_back(before, changed(before, [&](size_t) { return random() % share == 0; }));
  }
}

TEST(Stash, PutsEachPageBackWhereItWas) {
  constexpr uint32_t kPages = 64;
  std::vector<uint8_t> before(kPages * kPageBytes);
  std::mt19937 random(7);
  std::ranges::generate(before, [&] { return static_cast<uint8_t>(random()); });
  std::vector<uint8_t> now = before;
  auto stash = Stash::make(kPages);
  ASSERT_TRUE(stash) << stash.error().message;
  for (uint32_t page = 0; page < kPages; ++page) {
    const size_t at = page * kPageBytes;
    for (uint32_t i = 0; i < page * 8; ++i) now[at + random() % kPageBytes] ^= 1;
    stash->add(page, PageView(&before[at], kPageBytes), PageView(&now[at], kPageBytes));
  }
  std::vector<uint8_t> memory = before;
  const Stash moved = std::move(*stash);
  moved.put_back(memory);
  EXPECT_TRUE(memory == now);
  EXPECT_GT(moved.bytes(), kPages * kWord);
}

TEST(Stash, APageAsItWasTakesNoRoom) {
  const Page page = random_page(8);
  auto stash = Stash::make(1);
  ASSERT_TRUE(stash);
  stash->add(0, page, page);
  EXPECT_EQ(stash->bytes(), 0U);
}

TEST(Stash, HasRoomForPagesOfWhichEveryWordChanged) {
  const Page before{};
  const Page now = changed(before, [](size_t) { return true; });
  auto stash = Stash::make(300);
  ASSERT_TRUE(stash);
  for (uint32_t page = 0; page < 300; ++page) stash->add(page, before, now);
  std::vector<uint8_t> memory(300 * kPageBytes);
  stash->put_back(memory);
  for (uint32_t page = 0; page < 300; ++page) {
    ASSERT_EQ(std::memcmp(&memory[page * kPageBytes], now.data(), kPageBytes), 0) << page;
  }
}

}  // namespace
}  // namespace thimble

// The tables that the first instruction of a guest runs on, and memory that cannot hold them.
#include "vmm/cpu/start_state.h"

#include <gtest/gtest.h>

#include "tests/unit/vmm/test_memory.h"

namespace thimble {
namespace {

// Walks the page tables as a processor does; the physical address, or nothing.
std::optional<uint64_t> translate(const GuestMemory& memory, uint64_t address) {
  constexpr uint64_t kAddress = 0x000ffffffffff000;
  uint64_t table = map::kPageTables;
  for (const int shift : {39, 30, 21}) {
    const auto entry = memory.load<uint64_t>(table + ((address >> shift) & 0x1ff) * 8);
    if (!entry || (*entry & 1) == 0) return std::nullopt;
    if ((*entry & 0x80) != 0) return (*entry & kAddress) + (address & ((1ULL << shift) - 1));
    table = *entry & kAddress;
  }
  return std::nullopt;
}

TEST(StartStateTest, FirstFourGigabytesAreMappedOneToOneAndNoMore) {
  const test::TestMemory guest(16 << 20);
  ASSERT_TRUE(write_start_tables(guest.memory));
  for (uint64_t address = 0; address < 1ULL << 32; address += 0x1fff00) {
    ASSERT_EQ(translate(guest.memory, address), address);
  }
  EXPECT_EQ(translate(guest.memory, 0xffffffff), 0xffffffff);
  EXPECT_EQ(translate(guest.memory, 1ULL << 32), std::nullopt);
  EXPECT_EQ(translate(guest.memory, 1ULL << 40), std::nullopt);
}

TEST(StartStateTest, TablesStayClearOfTheirNeighbours) {
  const test::TestMemory guest(16 << 20);
  ASSERT_TRUE(write_start_tables(guest.memory));
  EXPECT_TRUE(guest.untouched(map::kZeroPage, 4096));
  EXPECT_TRUE(guest.untouched(map::kPageTables + 6 * 4096, 4096));
}

TEST(StartStateTest, MemoryTooSmallForTheTablesIsRefused) {
  std::vector<uint8_t> small(map::kPageTables + 4096);
  const GuestMemory memory({{.base = 0, .size = small.size(), .host = small.data()}});
  EXPECT_FALSE(write_start_tables(memory));
}

TEST(HostMemoryTest, SizesThatNoMachineHasAreRefused) {
  EXPECT_FALSE(HostMemory::map(0));
  EXPECT_FALSE(HostMemory::map((16ULL << 20) - 4096));
  EXPECT_FALSE(HostMemory::map((16ULL << 20) + 1));
  const auto huge = HostMemory::map(1ULL << 50);
  ASSERT_FALSE(huge);
  EXPECT_NE(huge.error().message.find("ask for less"), std::string::npos);
}

TEST(HostMemoryTest, MemoryIsZeroedAndAlignedForHugePages) {
  const auto memory = HostMemory::map(32ULL << 20);
  ASSERT_TRUE(memory) << memory.error().message;
  ASSERT_EQ(memory->ranges().size(), 1U);
  const MemoryRange& range = memory->ranges()[0];
  EXPECT_EQ(range.base, 0U);
  EXPECT_EQ(range.size, 32ULL << 20);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(range.host) % (2ULL << 20), 0U);
  EXPECT_EQ(range.host[0], 0);
  EXPECT_EQ(range.host[range.size - 1], 0);
}

TEST(HostMemoryTest, WhatDoesNotFitBelowTheHoleBeginsAtFourGigabytes) {
  const auto memory = HostMemory::map(map::kHoleStart + (64ULL << 20));
  if (!memory) GTEST_SKIP() << memory.error().message;
  ASSERT_EQ(memory->ranges().size(), 2U);
  EXPECT_EQ(memory->ranges()[0].size, map::kHoleStart);
  EXPECT_EQ(memory->ranges()[1].base, 1ULL << 32);
  EXPECT_EQ(memory->ranges()[1].size, 64ULL << 20);
  EXPECT_EQ(memory->ranges()[1].host, memory->ranges()[0].host + map::kHoleStart);
}

}  // namespace
}  // namespace thimble

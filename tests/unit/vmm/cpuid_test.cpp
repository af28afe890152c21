// What adjust_cpuid() writes into the leaves that differ per CPU, and that it leaves others alone.
#include "vmm/cpu/cpuid.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace thimble {
namespace {

constexpr uint32_t kOnes = 0xffffffff;

CpuidTable table_of(const std::vector<kvm_cpuid_entry2>& entries) {
  CpuidTable table(entries.size());
  table.header()->nent = static_cast<uint32_t>(entries.size());
  std::copy(entries.begin(), entries.end(), table.entries());
  return table;
}

kvm_cpuid_entry2 leaf(uint32_t function, uint32_t index = 0, uint32_t fill = 0) {
  kvm_cpuid_entry2 entry{};
  entry.function = function;
  entry.index = index;
  entry.eax = entry.ebx = entry.ecx = entry.edx = fill;
  return entry;
}

TEST(CpuidTest, LeafOneSaysApicIdCountAndHypervisor) {
  auto table = table_of({leaf(1)});
  adjust_cpuid(table, 3, 8, true);
  const auto& one = table.entries()[0];
  EXPECT_EQ(one.ebx >> 24, 3U);
  EXPECT_EQ(one.ebx >> 16 & 0xff, 8U);
  EXPECT_NE(one.ecx & 1U << 31, 0U);
  EXPECT_NE(one.ecx & 1U << 24, 0U);
  EXPECT_NE(one.edx & 1U << 28, 0U);
}

TEST(CpuidTest, OneCpuHasNoThreadsBesideIt) {
  auto table = table_of({leaf(1, 0, kOnes)});
  adjust_cpuid(table, 0, 1, false);
  EXPECT_EQ(table.entries()[0].edx & 1U << 28, 0U);
  EXPECT_EQ(table.entries()[0].ebx >> 16, 1U);
}

TEST(CpuidTest, DeadlineTimerIsOnlyAddedWhereKvmHasIt) {
  auto table = table_of({leaf(1)});
  adjust_cpuid(table, 0, 1, false);
  EXPECT_EQ(table.entries()[0].ecx & 1U << 24, 0U);
}

TEST(CpuidTest, TopologyGivesEveryCpuItsOwnIdInOnePackage) {
  std::set<uint32_t> ids;
  for (unsigned cpu = 0; cpu < 8; ++cpu) {
    auto table = table_of({leaf(0xb, 0, kOnes), leaf(0xb, 1, kOnes), leaf(0xb, 2, kOnes)});
    adjust_cpuid(table, cpu, 8, false);
    const auto* levels = table.entries();
    ids.insert(levels[0].edx);
    EXPECT_EQ(levels[0].ebx, 1U);  // one thread per core
    EXPECT_EQ(levels[0].eax, 0U);
    EXPECT_EQ(levels[0].ecx, 0x100U);
    EXPECT_EQ(levels[1].ebx, 8U);  // eight cores per package
    EXPECT_EQ(levels[1].eax, 3U);  // three bits of APIC id below the package's
    EXPECT_EQ(levels[1].ecx, 0x201U);
    EXPECT_EQ(levels[2].ebx, 0U);  // and nothing above
    EXPECT_EQ(levels[2].ecx, 2U);
  }
  EXPECT_EQ(ids.size(), 8U);
}

TEST(CpuidTest, AmdLeavesSayCountAndId) {
  auto table = table_of({leaf(0x80000008), leaf(0x8000001e, 0, kOnes)});
  adjust_cpuid(table, 5, 8, false);
  EXPECT_EQ(table.entries()[0].ecx & 0xff, 7U);
  EXPECT_EQ(table.entries()[0].ecx >> 12 & 0xf, 3U);
  EXPECT_EQ(table.entries()[1].eax, 5U);
}

TEST(CpuidTest, IntelCacheLeafCountsCoresButKeepsItsEnd) {
  auto table = table_of({leaf(4, 0, 0x1), leaf(4, 1, 0)});
  adjust_cpuid(table, 0, 8, false);
  EXPECT_EQ(table.entries()[0].eax >> 26, 7U);
  EXPECT_EQ(table.entries()[1].eax, 0U);  // the entry that ends the list
}

TEST(CpuidTest, OtherLeavesStayAsTheyAre) {
  auto table = table_of({leaf(7, 0, 0x12345678), leaf(0x80000001, 0, 0x9abcdef0)});
  adjust_cpuid(table, 2, 4, true);
  EXPECT_EQ(table.entries()[0].ebx, 0x12345678U);
  EXPECT_EQ(table.entries()[1].edx, 0x9abcdef0U);
}

TEST(CpuidTest, AdjustingForTheNextCpuLeavesNothingOfTheLastOne) {
  auto table = table_of({leaf(1), leaf(0xb, 0), leaf(0x8000001e)});
  adjust_cpuid(table, 7, 8, true);
  adjust_cpuid(table, 0, 8, true);
  EXPECT_EQ(table.entries()[0].ebx >> 24, 0U);
  EXPECT_EQ(table.entries()[1].edx, 0U);
  EXPECT_EQ(table.entries()[2].eax, 0U);
}

}  // namespace
}  // namespace thimble

// The bus finds the one device that owns an access, and nobody for everything else.
#include "devices/bus.h"

#include <gtest/gtest.h>

#include <array>

namespace thimble {
namespace {

// Remembers the last access.
class Recorder final : public BusDevice {
 public:
  void read(uint64_t offset, std::span<uint8_t> data) override {
    last_offset = offset;
    data[0] = 0xab;
    ++reads;
  }
  void write(uint64_t offset, std::span<const uint8_t> data) override {
    last_offset = offset;
    last_value = data[0];
    ++writes;
  }
  uint64_t last_offset = 0;
  uint8_t last_value = 0;
  int reads = 0;
  int writes = 0;
};

class BusTest : public testing::Test {
 protected:
  Bus bus;
  Recorder low, high;
  std::array<uint8_t, 4> data{1, 2, 3, 4};
};

TEST_F(BusTest, OwnerGetsOffsetsFromItsBase) {
  ASSERT_TRUE(bus.attach(0x2000, 0x1000, high));
  ASSERT_TRUE(bus.attach(0x1000, 0x1000, low));
  EXPECT_TRUE(bus.write(0x1ffc, data));
  EXPECT_EQ(low.last_offset, 0xffcU);
  EXPECT_EQ(low.last_value, 1);
  EXPECT_TRUE(bus.read(0x2000, data));
  EXPECT_EQ(high.last_offset, 0U);
  EXPECT_EQ(low.reads + high.writes, 0);
}

TEST_F(BusTest, DeviceThatAnswersInPartLeavesZeros) {
  ASSERT_TRUE(bus.attach(0x1000, 0x10, low));
  EXPECT_TRUE(bus.read(0x1000, data));
  EXPECT_EQ(data, (std::array<uint8_t, 4>{0xab, 0, 0, 0}));
}

TEST_F(BusTest, AccessNobodyOwnsReadsAsOnes) {
  EXPECT_FALSE(bus.read(0x1000, data));
  EXPECT_EQ(data, (std::array<uint8_t, 4>{0xff, 0xff, 0xff, 0xff}));
  EXPECT_FALSE(bus.write(0x1000, data));
}

TEST_F(BusTest, AccessAcrossTheEdgeOfADeviceBelongsToNobody) {
  ASSERT_TRUE(bus.attach(0x1000, 0x10, low));
  ASSERT_TRUE(bus.attach(0x1010, 0x10, high));
  EXPECT_FALSE(bus.write(0x0ffe, data));
  EXPECT_FALSE(bus.write(0x100d, data));
  EXPECT_FALSE(bus.read(0x101d, data));
  EXPECT_EQ(low.writes + high.reads, 0);
}

TEST_F(BusTest, LastAddressOfTheSpaceDoesNotWrap) {
  ASSERT_TRUE(bus.attach(UINT64_MAX - 0x10, 0x10, low));
  EXPECT_TRUE(bus.read(UINT64_MAX - 4, data));
  EXPECT_FALSE(bus.read(UINT64_MAX - 2, data));
}

TEST_F(BusTest, OverlapsAreRefused) {
  ASSERT_TRUE(bus.attach(0x1000, 0x100, low));
  EXPECT_FALSE(bus.attach(0x1000, 0x100, high));
  EXPECT_FALSE(bus.attach(0x10ff, 1, high));
  EXPECT_FALSE(bus.attach(0xfff, 2, high));
  EXPECT_FALSE(bus.attach(0x0, 0x10000, high));
  EXPECT_TRUE(bus.attach(0x1100, 1, high));
  EXPECT_TRUE(bus.attach(0xfff, 1, high));
}

TEST_F(BusTest, EmptyAndWrappingRangesAreRefused) {
  EXPECT_FALSE(bus.attach(0x1000, 0, low));
  EXPECT_FALSE(bus.attach(UINT64_MAX - 1, 0x10, low));
}

}  // namespace
}  // namespace thimble

// virtio-rng fills what the driver gives it, within bounds.
#include "devices/virtio/rng.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/devices/fake_driver.h"

namespace thimble {
namespace {

using fake::Guest;
using fake::MmioDriver;

class RngTest : public testing::Test {
 protected:
  RngTest() { driver.start(); }
  fake::DriverQueue& ring() { return driver.rings[0]; }
  void notify() { driver.transport.queue_notified(0); }

  fake::Loop loop;
  Guest guest;
  Rng device{loop};
  MmioDriver driver{guest, device};
};

TEST_F(RngTest, FillsEveryBufferOfAChain) {
  const Gpa data = guest.allocate(256);
  ring().add({{data, 64, true}, {data + 128, 64, true}});
  notify();
  const auto used = ring().take_used();
  ASSERT_TRUE(used);
  EXPECT_EQ(used->length, 128U);
  const auto zeros = [&](Gpa gpa) { return std::ranges::count(guest.bytes(gpa, 64), 0); };
  EXPECT_LT(zeros(data), 16);
  EXPECT_EQ(zeros(data + 64), 64) << "between the buffers";
  EXPECT_LT(zeros(data + 128), 16);
  EXPECT_EQ(driver.irq.pulses, 1);
}

TEST_F(RngTest, TwoBuffersDiffer) {
  const Gpa data = guest.allocate(64);
  ring().add({{data, 32, true}});
  ring().add({{data + 32, 32, true}});
  notify();
  EXPECT_NE(guest.bytes(data, 32), guest.bytes(data + 32, 32));
}

TEST_F(RngTest, HugeChainIsFilledInPart) {
  ring().add({{0x1000, 16, true}, {Guest::kHighBase, Guest::kHighSize, true}});
  notify();
  const auto used = ring().take_used();
  ASSERT_TRUE(used);
  EXPECT_EQ(used->length, Rng::kMaxFill);
}

TEST_F(RngTest, ReadableBuffersAreLeftAlone) {
  const Gpa data = guest.allocate(32);
  ring().add({{data, 32}});
  notify();
  const auto used = ring().take_used();
  ASSERT_TRUE(used);
  EXPECT_EQ(used->length, 0U);
  EXPECT_EQ(guest.bytes(data, 32), std::vector<uint8_t>(32));
}

TEST_F(RngTest, FullRingIsServedToItsEnd) {
  for (int i = 0; i < ring().size; ++i) ring().add({{guest.allocate(8), 8, true}});
  notify();
  ASSERT_TRUE(loop.turn_until_idle());
  EXPECT_EQ(ring().used_index(), ring().size);
}

TEST_F(RngTest, BrokenRingNeedsAResetAndAResetHelps) {
  ring().add({{Guest::kLowSize - 8, 16, true}});
  notify();
  EXPECT_NE(driver.status() & MmioDriver::kNeedsReset, 0U);
  driver.start();
  ring().add({{guest.allocate(8), 8, true}});
  notify();
  EXPECT_TRUE(ring().take_used());
}

TEST_F(RngTest, WorkPutOffBeforeAResetIsForgotten) {
  for (int i = 0; i < ring().size; ++i) ring().add({{guest.allocate(8), 8, true}});
  notify();
  driver.set_status(0);
  ring().add({{guest.allocate(8), 8, true}});
  const auto used = ring().used_index();
  ASSERT_TRUE(loop.turn_until_idle());
  EXPECT_EQ(ring().used_index(), used);
}

TEST_F(RngTest, SaveLoadSaveGivesTheSameBytes) {
  RngState state = device.save();
  const auto bytes = save_state(state);
  auto loaded = load_state<RngState>(bytes);
  ASSERT_TRUE(loaded);
  EXPECT_TRUE(device.restore(*loaded));
  const std::vector<uint8_t> foreign{1};
  EXPECT_FALSE(load_state<RngState>(foreign));
}

}  // namespace
}  // namespace thimble

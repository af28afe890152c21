// The VM generation ID: random, in guest memory, and new whenever the guest may have become two.
#include "devices/vmgenid.h"

#include <gtest/gtest.h>

#include "tests/unit/devices/fake_guest.h"

namespace thimble {
namespace {

constexpr Gpa kAddress = 0x8000;

class VmGenIdTest : public testing::Test {
 protected:
  VmGenId::Id in_memory() { return guest.memory.load<VmGenId::Id>(kAddress).value(); }
  std::unique_ptr<VmGenId> make() {
    auto made = VmGenId::create(guest.memory, kAddress, irq);
    return made ? std::move(*made) : nullptr;
  }
  fake::Guest guest;
  fake::Irq irq;
};

TEST_F(VmGenIdTest, FirstIdIsDrawnAndWrittenWithoutAnInterrupt) {
  const auto device = make();
  ASSERT_TRUE(device);
  EXPECT_NE(in_memory(), VmGenId::Id{});
  EXPECT_EQ(in_memory(), device->id());
  EXPECT_EQ(irq.pulses, 0);
}

TEST_F(VmGenIdTest, AChangeChangesTheIdAndInterrupts) {
  const auto device = make();
  ASSERT_TRUE(device);
  const auto before = device->id();
  ASSERT_TRUE(device->change());
  EXPECT_NE(device->id(), before);
  EXPECT_EQ(in_memory(), device->id());
  EXPECT_EQ(irq.pulses, 1);
}

TEST_F(VmGenIdTest, WhatTheGuestWritesThereMeansNothing) {
  const auto device = make();
  ASSERT_TRUE(device);
  const auto before = device->id();
  ASSERT_TRUE(guest.memory.store(kAddress, VmGenId::Id{1, 2, 3}));
  EXPECT_EQ(device->save().id, before);
  ASSERT_TRUE(device->restore(device->save()));
  EXPECT_EQ(in_memory(), before);
}

TEST_F(VmGenIdTest, SaveLoadSaveGivesTheSameBytes) {
  const auto device = make();
  ASSERT_TRUE(device);
  VmGenIdState state = device->save();
  const auto bytes = save_state(state);
  auto loaded = load_state<VmGenIdState>(bytes);
  ASSERT_TRUE(loaded);
  EXPECT_EQ(save_state(*loaded), bytes);
}

TEST_F(VmGenIdTest, PlaceOutsideMemoryIsRefused) {
  EXPECT_FALSE(VmGenId::create(guest.memory, fake::Guest::kLowSize - 8, irq));
}

}  // namespace
}  // namespace thimble

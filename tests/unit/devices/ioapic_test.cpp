// The IOAPIC's registers and the messages its pins lead to.
#include "devices/ioapic.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <optional>
#include <random>
#include <vector>

namespace thimble {
namespace {

constexpr uint64_t kSelect = 0x00;
constexpr uint64_t kWindow = 0x10;
constexpr uint32_t kMasked = 1U << 16;
constexpr uint32_t kLevel = 1U << 15;

class Routes final : public MessageRoutes {
 public:
  void route(unsigned pin, const InterruptMessage& message) override { pins[pin] = message; }
  void mask(unsigned pin) override { pins[pin] = std::nullopt; }
  std::map<unsigned, std::optional<InterruptMessage>> pins;
};

class IoApicTest : public testing::Test {
 protected:
  static void out(IoApic& ioapic, uint64_t offset, uint32_t value) {
    uint8_t bytes[4];
    std::memcpy(bytes, &value, sizeof(value));
    ioapic.write(offset, bytes);
  }
  static uint32_t in(IoApic& ioapic, uint64_t offset) {
    uint8_t bytes[4] = {};
    ioapic.read(offset, bytes);
    uint32_t value = 0;
    std::memcpy(&value, bytes, sizeof(value));
    return value;
  }
  void set(uint32_t index, uint32_t value) {
    out(ioapic_, kSelect, index);
    out(ioapic_, kWindow, value);
  }
  uint32_t get(uint32_t index) {
    out(ioapic_, kSelect, index);
    return in(ioapic_, kWindow);
  }
  void set_entry(unsigned pin, uint32_t low, uint32_t high) {
    set(0x11 + 2 * pin, high);
    set(0x10 + 2 * pin, low);
  }

  Routes routes_;
  IoApic ioapic_{routes_};
};

TEST_F(IoApicTest, VersionSaysTwentyFourPinsAndAllBeginMasked) {
  EXPECT_EQ(get(0x01), 0x00170011U);
  for (unsigned pin = 0; pin < kIoApicPins; ++pin) EXPECT_EQ(get(0x10 + 2 * pin), kMasked);
}

TEST_F(IoApicTest, UnmaskedPinLeadsToTheMessageOfItsEntry) {
  set_entry(4, 0x30, 0x03000000);
  ASSERT_TRUE(routes_.pins[4]);
  EXPECT_EQ(routes_.pins[4]->address, 0xfee03000U);
  EXPECT_EQ(routes_.pins[4]->data & 0xff, 0x30U);
  EXPECT_EQ(routes_.pins[4]->data >> 8 & 7, 0U);
  EXPECT_EQ(routes_.pins[4]->data >> 15 & 1, 0U);  // an edge
}

TEST_F(IoApicTest, LogicalDestinationAndDeliveryModeAreInTheMessage) {
  set_entry(23, 0x41 | (1U << 8) | (1U << 11) | kLevel, 0xff000000);
  ASSERT_TRUE(routes_.pins[23]);
  EXPECT_EQ(routes_.pins[23]->address, 0xfeeff004U);
  EXPECT_EQ(routes_.pins[23]->data & 0x7ff, 0x141U);
  EXPECT_EQ(routes_.pins[23]->data >> 15 & 1, 1U);
}

TEST_F(IoApicTest, MaskingCutsTheRouteAndUnmaskingMakesItAgain) {
  set_entry(5, 0x31, 0);
  const auto before = routes_.pins[5];
  set(0x1a, 0x31 | kMasked);
  EXPECT_FALSE(routes_.pins[5]);
  set(0x1a, 0x31);
  EXPECT_EQ(routes_.pins[5], before);
}

TEST_F(IoApicTest, EachHalfOfAnEntryKeepsTheOther) {
  set_entry(7, 0x52, 0x0a000000);
  EXPECT_EQ(get(0x1e), 0x52U);
  EXPECT_EQ(get(0x1f), 0x0a000000U);
  set(0x1f, 0x0b000000);
  EXPECT_EQ(get(0x1e), 0x52U);
}

TEST_F(IoApicTest, ReadOnlyBitsCannotBeSet) {
  set_entry(3, 0xffffffff & ~kMasked, 0);
  EXPECT_EQ(get(0x16) & ((1U << 14) | (1U << 12)), 0U);
  set(0x01, 0xffffffff);
  EXPECT_EQ(get(0x01), 0x00170011U);
  set(0x00, 0xffffffff);
  EXPECT_EQ(get(0x00), 0x0f000000U);
}

TEST_F(IoApicTest, RegistersThatAreNotThereReadAsZeroAndTakeNothing) {
  IoApicState before = ioapic_.save();
  for (const uint32_t index : {0x03U, 0x0fU, 0x40U, 0x41U, 0xffU}) {
    set(index, 0xffffffff);
    EXPECT_EQ(get(index), 0U) << index;
  }
  IoApicState after = ioapic_.save();
  EXPECT_EQ(after.redirection, before.redirection);
}

TEST_F(IoApicTest, SelectTakesOnlyItsByte) {
  out(ioapic_, kSelect, 0xffffff01);
  EXPECT_EQ(in(ioapic_, kSelect), 0x01U);
  EXPECT_EQ(in(ioapic_, kWindow), 0x00170011U);
}

TEST_F(IoApicTest, AccessesOfOddSizesAndOffsetsChangeNothing) {
  set_entry(4, 0x30, 0);
  IoApicState before = ioapic_.save();
  const std::vector<uint8_t> ones(8, 0xff);
  for (const size_t size : {0U, 1U, 2U, 3U, 8U}) {
    for (const uint64_t offset : {0x00ULL, 0x10ULL}) {
      ioapic_.write(offset, std::span(ones).first(size));
      std::vector<uint8_t> read(size, 0);
      ioapic_.read(offset, read);
      EXPECT_EQ(read, std::vector<uint8_t>(size, 0));
    }
  }
  for (const uint64_t offset : {0x04ULL, 0x11ULL, 0x20ULL, 0xfffULL, ~0ULL}) {
    out(ioapic_, offset, 0xffffffff);
    EXPECT_EQ(in(ioapic_, offset), 0U);
  }
  IoApicState after = ioapic_.save();
  EXPECT_EQ(save_state(after), save_state(before));
}

TEST_F(IoApicTest, EndOfInterruptClearsOnlyLevelPinsOfItsVector) {
  IoApicState state = ioapic_.save();
  constexpr uint64_t kRemote = 1 << 14;
  state.redirection[1] = 0x40 | kLevel | kRemote;
  state.redirection[2] = 0x41 | kLevel | kRemote;
  ioapic_.restore(state);
  ioapic_.end_of_interrupt(0x40);
  EXPECT_EQ(get(0x12) & kRemote, 0U);
  EXPECT_NE(get(0x14) & kRemote, 0U);
}

TEST_F(IoApicTest, StateComesBackWithItsRoutes) {
  set(0x00, 0x05000000);
  set_entry(4, 0x30, 0x01000000);
  set_entry(9, 0x39 | kLevel, 0x02000000);
  IoApicState saved = ioapic_.save();
  const auto bytes = save_state(saved);
  const auto loaded = load_state<IoApicState>(bytes);
  ASSERT_TRUE(loaded) << loaded.error().message;
  Routes routes;
  IoApic other(routes);
  other.restore(*loaded);
  IoApicState again = other.save();
  EXPECT_EQ(save_state(again), bytes);
  EXPECT_EQ(routes.pins[4], routes_.pins[4]);
  EXPECT_EQ(routes.pins[9], routes_.pins[9]);
  EXPECT_FALSE(routes.pins[5]);
  EXPECT_EQ(routes.pins.size(), kIoApicPins);  // every pin was said, also the masked ones
}

TEST_F(IoApicTest, RestoreKeepsForeignValuesInTheirBounds) {
  IoApicState state;
  state.id = 0xffffffff;
  state.select = 0xffffffff;
  state.redirection.fill(~0ULL);
  ioapic_.restore(state);
  EXPECT_EQ(ioapic_.save().id, 0x0f000000U);
  EXPECT_EQ(in(ioapic_, kWindow), 0U);
}

TEST_F(IoApicTest, AnyAccessesOnlyEverRouteRealPins) {
  std::mt19937 random(1);  // NOLINT: the same accesses every time
  for (int i = 0; i < 50'000; ++i) {
    const uint64_t offset = random() % 4 == 0 ? random() % IoApic::kSize : (random() % 2) * 0x10;
    if (random() % 3 == 0) {
      in(ioapic_, offset);
    } else {
      out(ioapic_, offset, static_cast<uint32_t>(random()) >> (random() % 32));
    }
  }
  for (const auto& [pin, message] : routes_.pins) {
    EXPECT_LT(pin, kIoApicPins);
    if (message) {
      EXPECT_EQ(message->address >> 20, 0xfeeU);
    }
  }
}

}  // namespace
}  // namespace thimble

// Described state: what is written is read back, and foreign bytes never get further than a
// refusal.
#include "devices/state.h"

#include <gtest/gtest.h>

#include <random>

namespace thimble {
namespace {

enum class Mode : uint8_t { kIdle = 1, kBusy = 2 };

struct Inner {
  uint32_t number = 0;
  std::vector<uint8_t> bytes;
  void describe(StateVisitor& visitor) {
    visitor.field("number", number);
    visitor.field("bytes", bytes, 4);
  }
};

struct Registers {
  uint64_t a;
  uint64_t b;
};

struct Outer {
  bool flag = false;
  Mode mode = Mode::kIdle;
  Inner inner;
  std::vector<Inner> items;
  Registers registers{};
  void describe(StateVisitor& visitor) {
    visitor.field("flag", flag);
    visitor.field("mode", mode);
    visitor.field("inner", inner);
    visitor.list("items", items, 3);
    visitor.field("registers", registers);
  }
};

Outer sample() { return {true, Mode::kBusy, {7, {1, 2, 3}}, {{8, {}}, {9, {4}}}, {10, 11}}; }

std::vector<uint8_t> sample_bytes() {
  Outer outer = sample();
  return save_state(outer);
}

TEST(StateTest, EveryKindOfFieldComesBack) {
  const auto bytes = sample_bytes();
  auto outer = load_state<Outer>(bytes);
  ASSERT_TRUE(outer) << outer.error().message;
  EXPECT_TRUE(outer->flag);
  EXPECT_EQ(outer->mode, Mode::kBusy);
  EXPECT_EQ(outer->inner.bytes, (std::vector<uint8_t>{1, 2, 3}));
  ASSERT_EQ(outer->items.size(), 2U);
  EXPECT_EQ(outer->items[1].number, 9U);
  EXPECT_EQ(outer->registers.b, 11U);
  EXPECT_EQ(save_state(*outer), bytes);
}

TEST(StateTest, EncodingIsAsTheHeaderSays) {
  Inner inner{0x01020304, {0xaa}};
  const std::vector<uint8_t> expected = {6, 'n', 'u', 'm', 'b', 'e', 'r', 4,   0, 0, 0, 4, 3,
                                         2, 1,   5,   'b', 'y', 't', 'e', 's', 1, 0, 0, 0, 0xaa};
  EXPECT_EQ(save_state(inner), expected);
}

TEST(StateTest, BytesCutAnywhereAreRefused) {
  const auto bytes = sample_bytes();
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(load_state<Outer>(std::span(bytes).first(length))) << length;
  }
}

TEST(StateTest, LeftOverBytesAreRefused) {
  auto bytes = sample_bytes();
  bytes.push_back(0);
  EXPECT_FALSE(load_state<Outer>(bytes));
}

TEST(StateTest, AnotherNameIsRefusedAndNamed) {
  auto bytes = sample_bytes();
  bytes[1] = 'g';
  auto outer = load_state<Outer>(bytes);
  ASSERT_FALSE(outer);
  EXPECT_NE(outer.error().message.find("'flag'"), std::string::npos) << outer.error().message;
}

TEST(StateTest, ListsAndBytesLongerThanTheirLimitAreRefused) {
  Outer outer = sample();
  outer.items.resize(4);
  EXPECT_FALSE(load_state<Outer>(save_state(outer)));
  outer = sample();
  outer.inner.bytes.resize(5);
  EXPECT_FALSE(load_state<Outer>(save_state(outer)));
}

TEST(StateTest, BoolIsOneOrZero) {
  auto bytes = sample_bytes();
  bytes[9] = 2;  // the value of "flag"
  EXPECT_FALSE(load_state<Outer>(bytes));
}

TEST(StateTest, ReaderChangesNothingAfterTheFirstMismatch) {
  auto bytes = sample_bytes();
  bytes[11] = 'n';  // the name of "mode"
  Outer outer;
  StateReader reader(bytes);
  outer.describe(reader);
  EXPECT_FALSE(reader.finish());
  EXPECT_TRUE(outer.flag);
  EXPECT_EQ(outer.mode, Mode::kIdle);
  EXPECT_EQ(outer.inner.number, 0U);
  EXPECT_TRUE(outer.items.empty());
  EXPECT_EQ(outer.registers.a, 0U);
}

TEST(StateTest, RandomDamageNeverCrashesTheReader) {
  std::mt19937 random(1);  // NOLINT: the same damage every time
  const auto bytes = sample_bytes();
  for (int round = 0; round < 20000; ++round) {
    auto damaged = bytes;
    for (int i = 0; i < 3; ++i) damaged[random() % damaged.size()] = static_cast<uint8_t>(random());
    auto outer = load_state<Outer>(damaged);
    if (outer) {
      EXPECT_LE(outer->items.size(), 3U);
    }
  }
}

}  // namespace
}  // namespace thimble

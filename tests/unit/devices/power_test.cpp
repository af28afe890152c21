// Which writes end a machine, and that no other does.
#include "devices/power.h"

#include <gtest/gtest.h>

#include <vector>

namespace thimble {
namespace {

using Kind = PowerPort::Kind;

// What each of the 256 bytes does to a port.
std::vector<std::vector<PowerEvent>> all_bytes(Kind kind) {
  std::vector<std::vector<PowerEvent>> out(256);
  for (unsigned value = 0; value < 256; ++value) {
    PowerPort port(kind, [&](PowerEvent event) { out[value].push_back(event); });
    const auto byte = static_cast<uint8_t>(value);
    port.write(0, std::span(&byte, 1));
  }
  return out;
}

const std::vector<PowerEvent> kNothing;
const std::vector<PowerEvent> kOneReset = {PowerEvent::kReset};
const std::vector<PowerEvent> kOnePowerOff = {PowerEvent::kPowerOff};

TEST(PowerTest, KeyboardControllerResetsOnItsPulseCommandAlone) {
  const auto events = all_bytes(Kind::kKeyboardController);
  for (unsigned value = 0; value < 256; ++value) {
    EXPECT_EQ(events[value], value == 0xfe ? kOneReset : kNothing) << value;
  }
}

TEST(PowerTest, ResetControlNeedsBothOfItsBits) {
  const auto events = all_bytes(Kind::kResetControl);
  for (unsigned value = 0; value < 256; ++value) {
    EXPECT_EQ(events[value], (value & 6) == 6 ? kOneReset : kNothing) << value;
  }
}

TEST(PowerTest, SleepControlPowersOffOnTypeFiveWithEnable) {
  const auto events = all_bytes(Kind::kSleepControl);
  EXPECT_EQ(events[0x34], kOnePowerOff);
  for (unsigned value = 0; value < 256; ++value) {
    EXPECT_EQ(events[value], (value & 0x3c) == 0x34 ? kOnePowerOff : kNothing) << value;
  }
}

TEST(PowerTest, AccessesOfOddSizesDoNothing) {
  const std::vector<uint8_t> bytes(8, 0xfe);
  for (const Kind kind : {Kind::kKeyboardController, Kind::kResetControl, Kind::kSleepControl}) {
    PowerPort port(kind, [](PowerEvent) { FAIL(); });
    for (const size_t size : {0U, 2U, 4U, 8U}) port.write(0, std::span(bytes).first(size));
  }
}

TEST(PowerTest, ReadsSayThatNothingIsPending) {
  for (const Kind kind : {Kind::kKeyboardController, Kind::kResetControl, Kind::kSleepControl}) {
    PowerPort port(kind, [](PowerEvent) { FAIL(); });
    std::vector<uint8_t> bytes(4, 0);
    port.read(0, bytes);
    EXPECT_EQ(bytes, std::vector<uint8_t>(4, 0));
    port.read(0, {});
  }
}

}  // namespace
}  // namespace thimble

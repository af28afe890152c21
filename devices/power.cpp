// Which written value ends the machine; see power.h.
#include "devices/power.h"

namespace thimble {

namespace {

constexpr uint8_t kPulseReset = 0xfe;
constexpr uint8_t kResetSystem = 0x06;    // hard reset of CPU and system
constexpr uint8_t kSleepEnable = 0x20;    // SLP_EN
constexpr uint8_t kSleepTypeMask = 0x1c;  // SLP_TYP, bits 2 to 4
constexpr uint8_t kSleepTypeSoftOff = PowerPort::kSoftOff << 2;

}  // namespace

void PowerPort::read(uint64_t /*offset*/, std::span<uint8_t> /*data*/) {}  // zeros: all idle

void PowerPort::write(uint64_t offset, std::span<const uint8_t> data) {
  if (data.size() != 1 || offset != 0) return;
  const uint8_t value = data[0];
  switch (kind_) {
    case Kind::kKeyboardController:
      if (value == kPulseReset) on_event_(PowerEvent::kReset);
      return;
    case Kind::kResetControl:
      if ((value & kResetSystem) == kResetSystem) on_event_(PowerEvent::kReset);
      return;
    case Kind::kSleepControl:
      if ((value & kSleepEnable) != 0 && (value & kSleepTypeMask) == kSleepTypeSoftOff) {
        on_event_(PowerEvent::kPowerOff);
      }
      return;
  }
}

}  // namespace thimble

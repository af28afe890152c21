// How a guest ends its machine: the ports that PC software writes for reset and power-off.
//
//   0x064  i8042 command port   0xfe pulses the reset line (Linux reboot=k)
//   0xcf9  PCI reset control    bit 2 with bit 1 resets (Linux reboot=p)
//   0x600  sleep control        SLP_EN | SLP_TYP 5 << 2 powers off (ACPI 6.4, 4.8.3.7); the reset
//                               register of the FADT is 0xcf9
//   0x601  sleep status         write to clear, as kernels do before they sleep: nothing to clear
//
// There is no keyboard behind 0x64: reads say that its buffers are empty.
#pragma once

#include <functional>

#include "devices/bus.h"

namespace thimble {

enum class PowerEvent { kPowerOff, kReset };

// One kind of port, at offset 0; the sleep status is at offset 1 of sleep control. Stateless:
// nothing to save.
class PowerPort final : public BusDevice {
 public:
  enum class Kind { kKeyboardController, kResetControl, kSleepControl };
  static constexpr uint64_t kKeyboardControllerPort = 0x64;
  static constexpr uint64_t kResetControlPort = 0xcf9;
  static constexpr uint64_t kSleepControlPort = 0x600;
  static constexpr uint64_t kSleepStatusPort = 0x601;
  static constexpr uint8_t kSoftOff = 5;  // SLP_TYP of the state S5

  // `on_event` is called on the vCPU's thread that wrote the port.
  PowerPort(Kind kind, std::function<void(PowerEvent)> on_event)
      : kind_(kind), on_event_(std::move(on_event)) {}

  void read(uint64_t offset, std::span<uint8_t> data) override;
  void write(uint64_t offset, std::span<const uint8_t> data) override;

 private:
  Kind kind_;
  std::function<void(PowerEvent)> on_event_;
};

}  // namespace thimble

// Redirection entries of any content, changed all the time while the serial port pulses its line:
// messages lead nowhere, and the machine goes on.
#include "payload.h"

using namespace payload;

void _start() {
  uint64_t seed = 0x853c49e6748fea9b;
  out8(kSerial + 1, 2);
  for (int i = 0; i < 60; ++i) {
    seed = seed * 6364136223846793005 + 1442695040888963407;
    const uint32_t pin = i % 2 == 0 ? 4 : static_cast<uint32_t>(seed >> 40) % 30;
    const auto mode = static_cast<uint32_t>(i % 2 == 0 ? 0 : 3);  // fixed, and one that is reserved
    // To a CPU that does not exist.
    ioapic_write(0x11 + 2 * pin, 0x20000000 | static_cast<uint32_t>(seed >> 32) << 28);
    ioapic_write(0x10 + 2 * pin, (static_cast<uint32_t>(seed) & 0xa0ff) | mode << 8);
    out8(kSerial + 1, 0);
    out8(kSerial + 1, 2);
    in8(kSerial + 2);
    write32(kIoApic, 0xffffffff);
    write32(kIoApic + 0x40, i);
    write32(kIoApic + 0xffc, i);
  }
  for (uint32_t pin = 0; pin < 24; ++pin) ioapic_write(0x10 + 2 * pin, 0x10000);
  print("ok\n");
  power_off();
}

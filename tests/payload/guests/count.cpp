// Counts aloud, with an IN and an MMIO read for each number, so that most pauses come while an exit
// is half done. What it read must be what it wrote, whatever was done to it in between.
#include "payload.h"

void _start() {
  for (uint32_t i = 0; i < 1500; ++i) {
    const auto low = static_cast<uint8_t>(i);
    payload::out8(payload::kSerial + 7, low);
    for (int again = 0; again < 8; ++again) {
      payload::check(payload::in8(payload::kSerial + 7) == low, "an IN kept its value");
    }
    payload::ioapic_write(0x11 + 2 * 20, i << 24);
    payload::check(payload::ioapic_read(0x11 + 2 * 20) == i << 24, "a register kept its value");
    payload::print_hex(i);
  }
  payload::print("done\n");
  payload::power_off();
}

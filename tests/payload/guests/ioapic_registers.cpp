// The IOAPIC says version 0x11 with 24 pins, keeps redirection entries and starts masked.
#include "payload.h"

using payload::check;
using payload::ioapic_read;
using payload::ioapic_write;

void _start() {
  check(ioapic_read(1) == 0x00170011, "version register");
  for (uint32_t pin = 0; pin < 24; ++pin) {
    check((ioapic_read(0x10 + 2 * pin) & 0x10000) != 0, "pins start masked");
  }
  ioapic_write(0x10 + 2 * 23, 0x10000 | 0x77);
  ioapic_write(0x11 + 2 * 23, 0x01000000);
  check(ioapic_read(0x10 + 2 * 23) == (0x10000 | 0x77), "low half is kept");
  check(ioapic_read(0x11 + 2 * 23) == 0x01000000, "high half is kept");
  ioapic_write(0x10 + 2 * 24, 0xffffffff);  // no such pin
  check(ioapic_read(0x10 + 2 * 24) == 0, "a pin that does not exist reads zero");
  payload::print("ok\n");
  payload::power_off();
}

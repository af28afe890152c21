// A device line that leads to an NMI, without anything to handle one: the CPU gives up, and that is
// this machine's end.
#include "payload.h"

using namespace payload;

void _start() {
  write32(kLocalApic + 0xf0, 0x1ff);
  ioapic_write(0x11 + 2 * 4, 0);
  ioapic_write(0x10 + 2 * 4, 4 << 8);
  out8(kSerial + 1, 2);
  for (int i = 0; i < 100; ++i) in8(kSerial + 5);
  print("no NMI\n");
  power_off();
}

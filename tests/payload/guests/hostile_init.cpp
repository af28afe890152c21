// A device line that sends INIT to the first CPU: it starts again at the reset vector, where this
// machine has no firmware and so nothing to execute.
#include "payload.h"

using namespace payload;

void _start() {
  print("restarting\n");
  write32(kLocalApic + 0xf0, 0x1ff);
  ioapic_write(0x11 + 2 * 4, 0);
  ioapic_write(0x10 + 2 * 4, 5 << 8);
  out8(kSerial + 1, 2);
  for (;;) in8(kSerial + 5);
}

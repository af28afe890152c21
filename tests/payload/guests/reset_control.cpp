// Bit 2 with bit 1 of port 0xcf9 resets the machine; bit 1 alone does not.
#include "payload.h"

void _start() {
  payload::out8(0xcf9, 0x02);
  payload::print("still here\n");
  payload::out8(0xcf9, 0x06);
  for (;;) asm volatile("cli; hlt");
}

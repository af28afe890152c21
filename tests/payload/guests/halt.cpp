// Halts with interrupts off: nothing inside the guest can wake it.
#include "payload.h"

void _start() {
  payload::print("halting\n");
  for (;;) asm volatile("cli; hlt");
}

// 0xfe to the keyboard controller's command port resets the machine.
#include "payload.h"

void _start() {
  payload::check((payload::in8(0x64) & 2) == 0, "input buffer is empty");
  payload::out8(0x64, 0xfe);
  for (;;) asm volatile("cli; hlt");
}

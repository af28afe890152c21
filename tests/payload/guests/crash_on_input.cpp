// Dies of a triple fault as soon as a byte is typed: as a guest whose kernel panics right after it
// was restored.
#include "payload.h"

void _start() {
  payload::print("ready\n");
  while ((payload::in8(payload::kSerial + 5) & 1) == 0) {
  }
  asm volatile("ud2");
  for (;;) {
  }
}

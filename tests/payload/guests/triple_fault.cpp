// A fault without an interrupt table is a triple fault.
#include "payload.h"

void _start() {
  asm volatile("ud2");
  for (;;) {
  }
}

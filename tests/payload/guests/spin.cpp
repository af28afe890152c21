// Never leaves the CPU by itself.
#include "payload.h"

void _start() {
  payload::print("spinning\n");
  for (;;) {
  }
}

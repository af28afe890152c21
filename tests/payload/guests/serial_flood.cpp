// Writes 96 KiB, more than the port keeps, without ever looking at the line status: the host's
// memory must not grow with it.
#include "payload.h"

void _start() {
  for (int i = 0; i < 96 * 1024; ++i) payload::out8(payload::kSerial, 'x');
  payload::power_off();
}

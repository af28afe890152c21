// Writes 16 KiB to the serial port, then ends.
#include "payload.h"

void _start() {
  for (int i = 0; i < 16 * 1024; ++i) payload::out8(payload::kSerial, 'x');
  payload::power_off();
}

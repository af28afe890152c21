// Writes 512 KiB without ever looking at the line status: the host's memory must not grow with it.
#include "payload.h"

void _start() {
  for (int i = 0; i < 512 * 1024; ++i) payload::out8(payload::kSerial, 'x');
  payload::power_off();
}

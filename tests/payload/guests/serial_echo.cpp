// Bytes typed at the host arrive in order; 'q' ends.
#include "payload.h"

void _start() {
  payload::print("ready\n");
  for (;;) {
    if ((payload::in8(payload::kSerial + 5) & 1) == 0) continue;
    const uint8_t byte = payload::in8(payload::kSerial);
    if (byte == 'q') payload::power_off();
    payload::out8(payload::kSerial, byte);
  }
}

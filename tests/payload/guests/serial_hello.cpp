// Bytes written to the serial port come out in order, then the machine powers off.
#include "payload.h"

void _start() {
  payload::print("hello from ring 0\n");
  payload::power_off();
}

// REP OUTSB carries many bytes in one exit; each must come out once and in order.
#include "payload.h"

void _start() {
  const char text[] = "0123456789abcdefghijklmnopqrstuvwxyz\n";
  const char* from = text;
  uint64_t count = sizeof(text) - 1;
  asm volatile("cld; rep outsb" : "+S"(from), "+c"(count) : "d"(payload::kSerial) : "memory");
  payload::power_off();
}

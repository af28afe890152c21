// Accesses that make no sense to a device neither hang nor end the machine: unowned ports and
// addresses read as ones, odd sizes of known registers are ignored.
#include "payload.h"

void _start() {
  payload::check(payload::in8(0x1234) == 0xff, "an unowned port reads ones");
  payload::check(payload::read32(0xd8000000) == 0xffffffff, "an unowned address reads ones");
  payload::write32(0xd8000000, 1);
  asm volatile("outl %0, %1" ::"a"(0xdeadbeef), "Nd"(payload::kSerial));
  asm volatile("movb $1, (%0)" ::"r"(payload::kIoApic + 3) : "memory");
  asm volatile("movq %0, (%1)" ::"r"(0x123456789abcdefULL), "r"(payload::kIoApic + 0x10)
               : "memory");
  payload::write32(payload::kVirtio + 0xffc, 0xffffffff);
  payload::print("ok\n");
  payload::power_off();
}

// Executing where neither memory nor a device is cannot be emulated: KVM gives up.
#include "payload.h"

void _start() {
  asm volatile("mov $0xc0ffee, %%rbx; mov $0xe0000000, %%rax; jmp *%%rax" ::: "rax", "rbx");
  for (;;) {
  }
}

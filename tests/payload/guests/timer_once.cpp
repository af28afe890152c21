// Each timer interrupt arrives once, and none while interrupts are off, although the host has
// timers of its own all the time: the handler stays long, and must not be entered while it is in
// there.
#include "interrupts.h"

using namespace payload;

namespace {

constexpr uint32_t kInterrupts = 300;
constexpr uint64_t kStay = 100'000;       // cycles
constexpr uint32_t kTimerAhead = 20'000;  // of the APIC's clock, 1 ns each

volatile uint32_t count = 0;
volatile bool inside = false;

}  // namespace

extern "C" void on_interrupt() {
  check(!inside, "an interrupt arrived while interrupts were off");
  inside = true;
  const uint64_t until = read_tsc() + kStay;
  while (read_tsc() < until) {
  }
  count = count + 1;
  inside = false;
  end_interrupt();
}

void _start() {
  set_up_interrupts();
  write32(kLocalApic + 0x320, kVector);  // the timer, once
  write32(kLocalApic + 0x3e0, 0xb);      // its clock, undivided
  for (uint32_t i = 1; i <= kInterrupts; ++i) {
    write32(kLocalApic + 0x380, kTimerAhead);
    while (count < i) asm volatile("sti; hlt; cli");
    check(count == i, "the timer came once");
  }
  print("ok\n");
  power_off();
}

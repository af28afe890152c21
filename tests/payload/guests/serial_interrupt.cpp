// The serial port's interrupt goes through the IOAPIC to the vector that its entry names, and a
// masked pin stays silent.
#include "interrupts.h"

namespace {

volatile int interrupts = 0;

void trigger() {
  payload::out8(payload::kSerial + 1, 0);
  payload::out8(payload::kSerial + 1, 2);  // transmitter empty: interrupt at once
}

}  // namespace

extern "C" void on_interrupt() {
  interrupts = interrupts + 1;
  payload::in8(payload::kSerial + 2);  // IIR: acknowledge
  payload::end_interrupt();
}

void _start() {
  payload::set_up_interrupts();
  asm volatile("sti");
  trigger();  // pin 4 is still masked
  for (int i = 0; i < 1000; ++i) payload::in8(payload::kSerial + 5);
  payload::check(interrupts == 0, "a masked pin is silent");

  payload::in8(payload::kSerial + 2);
  payload::connect_pin(4);
  trigger();
  for (int i = 0; i < 100000 && interrupts == 0; ++i) payload::in8(payload::kSerial + 5);
  asm volatile("cli");
  payload::check(interrupts == 1, "one interrupt arrived");
  payload::print("ok\n");
  payload::power_off();
}

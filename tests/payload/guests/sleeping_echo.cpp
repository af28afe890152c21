// Sleeps until bytes are typed, and gives each back; 'q' ends. A neighbour that costs nothing while
// nobody talks to it.
#include "interrupts.h"

extern "C" void on_interrupt() {
  while ((payload::in8(payload::kSerial + 5) & 1) != 0) {
    const uint8_t byte = payload::in8(payload::kSerial);
    if (byte == 'q') payload::power_off();
    payload::out8(payload::kSerial, byte);
  }
  payload::end_interrupt();
}

void _start() {
  payload::set_up_interrupts();
  payload::connect_pin(4);
  payload::out8(payload::kSerial + 1, 1);  // received data interrupts
  payload::print("ready\n");
  for (;;) asm volatile("sti; hlt");
}

// Frozen with interrupts off and one of every kind pending: a device's pin, the local timer that
// has run out, a message to itself, a second NMI inside the handler of the first. Each comes once
// in the clone.
#include "pending.h"

using namespace payload;

namespace {
volatile uint32_t nmi_count = 0;
}

extern "C" void payload::on_nmi() {
  nmi_count = nmi_count + 1;
  if (nmi_count != 1) return;
  send_to_self(4 << 8);  // waits for the end of this one
  wait_for_key();
  check(nmi_count == 1, "an NMI waits for the end of the one before");
}

void _start() {
  set_up_pending();
  ioapic_write(0x11 + 2 * 4, 0);
  ioapic_write(0x10 + 2 * 4, kPinVector);
  out8(kSerial + 1, 2);  // transmitter empty: the pin's edge
  write32(kLocalApic + 0x320, kTimerVector);
  write32(kLocalApic + 0x3e0, 0xb);
  write32(kLocalApic + 0x380, 1000);
  for (int i = 0; i < 1000 && read32(kLocalApic + 0x390) != 0; ++i) in8(kSerial + 7);
  check(read32(kLocalApic + 0x390) == 0, "the timer runs out");
  send_to_self(kSelfVector);
  send_to_self(4 << 8);  // the NMI: its handler waits, and is frozen
  for (int i = 0; i < 1000 && nmi_count < 2; ++i) in8(kSerial + 7);
  check(nmi_count == 2, "the second NMI came once");
  check(pin_count == 0 && timer_count == 0 && self_count == 0, "interrupts stayed off");
  let_in([] { return pin_count != 0 && timer_count != 0 && self_count != 0; });
  check(pin_count == 1, "the pin's interrupt came once");
  check(timer_count == 1, "the timer's interrupt came once");
  check(self_count == 1, "the message to itself came once");
  check(nmi_count == 2, "and no NMI more");
  print("ok\n");
  power_off();
}

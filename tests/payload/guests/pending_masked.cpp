// Frozen while a device wants an interrupt and its pin is masked. The edge is lost, as on hardware,
// but the device still says what it wanted, and the next edge comes through.
#include "pending.h"

using namespace payload;

extern "C" void payload::on_nmi() {}

void _start() {
  set_up_pending();
  out8(kSerial + 1, 2);  // pin 4 is masked
  wait_for_key();
  check((in8(kSerial + 2) & 0xf) == 2, "the device still wants its interrupt");
  ioapic_write(0x11 + 2 * 4, 0);
  ioapic_write(0x10 + 2 * 4, kPinVector);
  check(pin_count == 0, "a masked edge does not come later");
  out8(kSerial + 1, 0);
  out8(kSerial + 1, 2);
  let_in([] { return pin_count != 0; });
  check(pin_count == 1, "the next edge comes");
  print("ok\n");
  power_off();
}

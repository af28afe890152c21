// Asks for ten streams to a port of the host, one after the other, and says of each whether it got
// one: "y" or "n". What it is sent on one that it got, it says too, after ':'. It begins when
// something was typed.
#include "vsock.h"

using namespace payload;

namespace {

// The host is another process, which may have to wait for a processor. In a clone the device says
// first that what there was of streams is gone, and waits until it may say so again.
uint16_t patient_answer(Vsock& vsock, uint32_t port) {
  static uint16_t told = 0;
  for (int i = 0; i < 100000; ++i) {
    if (const uint16_t op = vsock.answer(port); op != 0) return op;
    if (vsock.events_came() == told) continue;
    told = vsock.events_came();
    vsock.give_event();
  }
  return 0;
}

}  // namespace

void _start() {
  print("ready\n");
  while ((in8(kSerial + 5) & 1) == 0) asm volatile("pause");
  Vsock vsock;
  vsock.start();
  vsock.give_event();
  for (uint32_t port = 100; port < 110; ++port) {
    vsock.send(port, kRequest);
    const uint16_t op = patient_answer(vsock, port);
    check(op == kResponse || op == kReset, "every request is answered");
    print(op == kResponse ? "y" : "n");
    if (op != kResponse) continue;
    check(patient_answer(vsock, port) == kData, "the host's word comes");
    print(":");
  }
  print("\n");
  finish();
}

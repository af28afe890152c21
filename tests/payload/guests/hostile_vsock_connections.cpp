// A thousand and more connections: each request is answered, by a response while there is room and
// by a reset then; what was opened first still works.
#include "vsock.h"

using namespace payload;

void _start() {
  Vsock vsock;
  vsock.start();
  uint32_t accepted = 0;
  uint32_t refused = 0;
  for (uint32_t i = 0; i < 1200; ++i) {
    vsock.send(10000 + i, kRequest);
    const uint16_t op = vsock.answer(10000 + i);
    check(op == kResponse || op == kReset, "every request is answered");
    (op == kResponse ? accepted : refused) += 1;
  }
  check(accepted >= 100, "a hundred and more are accepted");
  check(refused >= 100, "no more than the limit");
  vsock.send(10000, kData, 5, 5);
  vsock.send(10000, kShutdown);
  finish();
}

// Frozen when its time stamp counter is a third of a second old, which a new machine's counter
// is not yet when the clone begins. The clone's counter goes on where it stood.
#include "pending.h"

using namespace payload;

namespace {
constexpr uint64_t kAge = 800'000'000;  // cycles
}

extern "C" void payload::on_nmi() {}

void _start() {
  set_up_pending();
  const uint64_t start = read_tsc();
  while (read_tsc() < start + kAge) {
  }
  const uint64_t before = read_tsc();
  wait_for_key();
  check(read_tsc() >= before, "the counter did not go back");
  print("ok\n");
  power_off();
}

// Frozen while the local timer counts towards a TSC deadline, twice: with the deadline to come, and
// with one that has passed. It comes once each time, and not before its time.
#include "pending.h"

using namespace payload;

namespace {
constexpr uint32_t kDeadlineMsr = 0x6e0;
constexpr uint32_t kDeadlineMode = 2 << 17;
constexpr uint64_t kAhead = 400'000'000;  // cycles
}  // namespace

extern "C" void payload::on_nmi() {}

void _start() {
  set_up_pending();
  write32(kLocalApic + 0x320, kTimerVector | kDeadlineMode);
  const uint64_t deadline = read_tsc() + kAhead;
  write_msr(kDeadlineMsr, deadline);
  wait_for_key();
  const uint64_t now = read_tsc();
  check(now < deadline, "the counter stood still meanwhile");
  check(read_msr(kDeadlineMsr) == deadline, "the deadline stands");
  asm volatile("sti");
  while (read_tsc() < deadline + kAhead && timer_count == 0) in8(kSerial + 7);
  asm volatile("cli");
  check(timer_count == 1, "the timer came once");
  check(read_tsc() >= deadline, "and not early");

  write_msr(kDeadlineMsr, read_tsc() + 1000);
  for (int i = 0; i < 100; ++i) in8(kSerial + 7);
  wait_for_key();
  let_in([] { return timer_count != 1; });
  check(timer_count == 2, "one that had run out came once");
  print("ok\n");
  power_off();
}

// Sleeps until something is typed: 'w' writes to 64 pages, to each more than to the one before, and
// says the sum of all; 's' says it again; 't' sets a timer to a second or more from now and says
// when it has gone off; 'b' computes until the next key.
#include "pending.h"

using namespace payload;

namespace {

constexpr uint32_t kDeadlineMsr = 0x6e0;
constexpr uint32_t kDeadlineMode = 2 << 17;
constexpr uint64_t kAhead = 8'000'000'000;  // cycles
constexpr uint64_t kPages = 4UL << 20;      // address
constexpr uint64_t kWords = 512;

uint64_t* page_at(uint64_t number) { return reinterpret_cast<uint64_t*>(kPages + number * 4096); }

void write_pages() {
  for (uint64_t page = 0; page < 64; ++page) {
    for (uint64_t word = 0; word < kWords; word += 64 - page)
      page_at(page)[word] += page * word + 1;
  }
}

void say_sum() {
  uint64_t sum = 0;
  for (uint64_t page = 0; page < 64; ++page) {
    for (uint64_t word = 0; word < kWords; ++word) sum = sum * 31 + page_at(page)[word];
  }
  print_hex(sum);
}

bool typed() { return (in8(kSerial + 5) & 1) != 0; }

}  // namespace

extern "C" void payload::on_nmi() {}

void _start() {
  set_up_pending();
  connect_pin(4);
  static_assert(kVector == kPinVector);
  out8(kSerial + 1, 1);  // received data interrupts
  write32(kLocalApic + 0x320, kTimerVector | kDeadlineMode);
  uint64_t deadline = 0;
  uint32_t heard = 0;
  print("ready\n");
  for (;;) {
    asm volatile("cli");
    while (typed()) {
      const uint8_t key = in8(kSerial);
      if (key == 'w') write_pages();
      if (key == 'w' || key == 's') say_sum();
      if (key == 't') {
        deadline = read_tsc() + kAhead;
        write_msr(kDeadlineMsr, deadline);
        print("set\n");
      }
      if (key == 'b') {
        print("busy\n");
        while (!typed()) {
        }
      }
    }
    if (timer_count != heard) {
      heard = timer_count;
      print(read_tsc() >= deadline ? "rang\n" : "FAILED: early\n");
    }
    asm volatile("sti; hlt");
  }
}

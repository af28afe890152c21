// Reads a port and a device register that give one number after another: none may be lost, doubled
// or changed, by single INs, by string INs and by MMIO.
#include "payload.h"

namespace {
constexpr uint16_t kPort = 0x70;
uint8_t next = 0;

void expect(uint8_t value) { payload::check(value == next++, "the sequence"); }

void read_string() {
  uint8_t bytes[5] = {};
  auto* to = bytes;
  uint64_t count = sizeof(bytes);
  asm volatile("rep insb" : "+D"(to), "+c"(count) : "d"(kPort) : "memory");
  for (const uint8_t byte : bytes) expect(byte);
}

uint8_t read_memory() {
  uint8_t value;
  asm volatile("movb (%1), %0" : "=r"(value) : "r"(payload::kVirtio) : "memory");
  return value;
}
}  // namespace

void _start() {
  for (int i = 0; i < 40; ++i) {
    expect(payload::in8(kPort));
    expect(read_memory());
    read_string();
  }
  payload::print("done\n");
  payload::power_off();
}

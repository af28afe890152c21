// What a payload guest has to work with: ports, MMIO, the serial port, power-off. A payload is one
// page of ring-0 code that shows one property of the machine; it is entered where Linux would be
// (64-bit, flat, the first 4 GiB mapped one to one, interrupts off) and has no library. Only
// general registers: software KVM interprets ring 0 and knows no SSE.
#pragma once

#include <stdint.h>

namespace payload {

inline void out8(uint16_t port, uint8_t value) {
  asm volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}
inline uint8_t in8(uint16_t port) {
  uint8_t value;
  asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
inline uint32_t read32(uint64_t address) {
  uint32_t value;
  asm volatile("movl (%1), %0" : "=r"(value) : "r"(address) : "memory");
  return value;
}
inline void write32(uint64_t address, uint32_t value) {
  asm volatile("movl %0, (%1)" ::"r"(value), "r"(address) : "memory");
}

inline uint64_t read_tsc() {
  uint32_t low;
  uint32_t high;
  asm volatile("rdtsc" : "=a"(low), "=d"(high));
  return static_cast<uint64_t>(high) << 32 | low;
}

constexpr uint16_t kSerial = 0x3f8;
constexpr uint16_t kSleepControl = 0x600;
constexpr uint64_t kIoApic = 0xfec00000;
constexpr uint64_t kLocalApic = 0xfee00000;
constexpr uint64_t kVirtio = 0xd0000000;

inline void print(const char* text) {
  for (; *text != 0; ++text) out8(kSerial, static_cast<uint8_t>(*text));
}

inline void print_hex(uint64_t value) {
  for (int shift = 60; shift >= 0; shift -= 4) {
    const uint8_t digit = (value >> shift) & 0xf;
    out8(kSerial, static_cast<uint8_t>(digit < 10 ? '0' + digit : 'a' + digit - 10));
  }
  out8(kSerial, '\n');
}

[[noreturn]] inline void power_off() {
  out8(kSleepControl, 0x34);
  for (;;) asm volatile("cli; hlt");
}

inline void check(bool holds, const char* what) {
  if (holds) return;
  print("FAILED: ");
  print(what);
  print("\n");
  power_off();
}

inline uint32_t ioapic_read(uint32_t index) {
  write32(kIoApic, index);
  return read32(kIoApic + 0x10);
}
inline void ioapic_write(uint32_t index, uint32_t value) {
  write32(kIoApic, index);
  write32(kIoApic + 0x10, value);
}

}  // namespace payload

// Where the machine enters. Each payload defines it.
extern "C" [[noreturn]] void _start();

// Interrupts for a payload guest: one vector whose handler counts and acknowledges. The payload
// defines on_interrupt(), which is called with interrupts off.
#pragma once

#include "payload.h"

namespace payload {

struct [[gnu::packed]] Gate {
  uint16_t low;
  uint16_t selector;
  uint8_t stack;
  uint8_t type;
  uint16_t middle;
  uint32_t high;
  uint32_t zero;
};
struct [[gnu::packed]] TableRegister {
  uint16_t limit;
  uint64_t base;
};

constexpr uint8_t kVector = 0x40;
inline Gate interrupt_table[256];

extern "C" void on_interrupt();
inline void end_interrupt() { write32(kLocalApic + 0xb0, 0); }

// NOLINTNEXTLINE: an entry point is written in assembly
asm(R"(
  .weak interrupt_entry
interrupt_entry:
  push %rax; push %rcx; push %rdx; push %rsi; push %rdi; push %r8; push %r9; push %r10; push %r11
  call on_interrupt
  pop %r11; pop %r10; pop %r9; pop %r8; pop %rdi; pop %rsi; pop %rdx; pop %rcx; pop %rax
  iretq
)");
extern "C" void interrupt_entry();

inline void set_up_interrupts() {
  const auto address = reinterpret_cast<uint64_t>(&interrupt_entry);
  interrupt_table[kVector] = {
      static_cast<uint16_t>(address),       0x10, 0, 0x8e, static_cast<uint16_t>(address >> 16),
      static_cast<uint32_t>(address >> 32), 0};
  const TableRegister idt = {sizeof(interrupt_table) - 1,
                             reinterpret_cast<uint64_t>(&interrupt_table)};
  asm volatile("lidt %0" ::"m"(idt));
  write32(kLocalApic + 0xf0, 0x1ff);  // enable the local APIC
}

// Pin `pin` of the IOAPIC raises kVector on the first CPU.
inline void connect_pin(uint32_t pin) {
  ioapic_write(0x11 + 2 * pin, 0);
  ioapic_write(0x10 + 2 * pin, kVector);
}

}  // namespace payload

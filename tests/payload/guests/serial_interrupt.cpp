// The serial port's interrupt goes through the IOAPIC to the vector that its entry names, and a
// masked pin stays silent.
#include "payload.h"

namespace {

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
Gate table[256];
volatile int interrupts = 0;

extern "C" void count_interrupt() {
  interrupts = interrupts + 1;
  payload::in8(payload::kSerial + 2);               // IIR: acknowledge
  payload::write32(payload::kLocalApic + 0xb0, 0);  // end of interrupt
}

asm(R"(
  .globl interrupt_entry
interrupt_entry:
  push %rax; push %rcx; push %rdx; push %rsi; push %rdi; push %r8; push %r9; push %r10; push %r11
  call count_interrupt
  pop %r11; pop %r10; pop %r9; pop %r8; pop %rdi; pop %rsi; pop %rdx; pop %rcx; pop %rax
  iretq
)");
extern "C" void interrupt_entry();

void set_up_vector() {
  const auto address = reinterpret_cast<uint64_t>(&interrupt_entry);
  table[kVector] = {
      static_cast<uint16_t>(address),       0x10, 0, 0x8e, static_cast<uint16_t>(address >> 16),
      static_cast<uint32_t>(address >> 32), 0};
  const TableRegister idt = {sizeof(table) - 1, reinterpret_cast<uint64_t>(&table)};
  asm volatile("lidt %0" ::"m"(idt));
  payload::write32(payload::kLocalApic + 0xf0, 0x1ff);  // enable the local APIC
}

void trigger() {
  payload::out8(payload::kSerial + 1, 0);
  payload::out8(payload::kSerial + 1, 2);  // transmitter empty: interrupt at once
}

}  // namespace

void _start() {
  set_up_vector();
  asm volatile("sti");
  trigger();  // pin 4 is still masked
  for (int i = 0; i < 1000; ++i) payload::in8(payload::kSerial + 5);
  payload::check(interrupts == 0, "a masked pin is silent");

  payload::in8(payload::kSerial + 2);
  payload::ioapic_write(0x11 + 2 * 4, 0);
  payload::ioapic_write(0x10 + 2 * 4, kVector);
  trigger();
  for (int i = 0; i < 100000 && interrupts == 0; ++i) payload::in8(payload::kSerial + 5);
  asm volatile("cli");
  payload::check(interrupts == 1, "one interrupt arrived");
  payload::print("ok\n");
  payload::power_off();
}

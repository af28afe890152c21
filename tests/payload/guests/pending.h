// For payloads that are frozen with interrupts pending: handlers that count for several vectors and
// for NMIs, and a wait for the host's key that takes no interrupt.
#pragma once

#include "interrupts.h"

namespace payload {

constexpr uint8_t kPinVector = 0x40;
constexpr uint8_t kTimerVector = 0x50;
constexpr uint8_t kSelfVector = 0x60;
constexpr uint8_t kNmiVector = 2;

inline volatile uint32_t pin_count = 0;
inline volatile uint32_t timer_count = 0;
inline volatile uint32_t self_count = 0;

extern "C" void on_pin() {
  pin_count = pin_count + 1;
  in8(kSerial + 2);  // IIR: acknowledge
  end_interrupt();
}
extern "C" void on_timer() {
  timer_count = timer_count + 1;
  end_interrupt();
}
extern "C" void on_self() {
  self_count = self_count + 1;
  end_interrupt();
}
extern "C" void on_nmi();
// The single handler of interrupts.h is not used here.
extern "C" void on_interrupt() {}

#define PAYLOAD_ENTRY(name, handler)                                                              \
  asm(".globl " #name "\n" #name                                                                  \
      ":\n push %rax; push %rcx; push %rdx; push %rsi; push %rdi; push %r8; push %r9; push %r10;" \
      " push %r11\n call " #handler                                                               \
      "\n pop %r11; pop %r10; pop %r9; pop %r8; pop %rdi; pop %rsi; pop %rdx; pop %rcx;"          \
      " pop %rax\n iretq\n");                                                                     \
  extern "C" void name()
PAYLOAD_ENTRY(pin_entry, on_pin);
PAYLOAD_ENTRY(timer_entry, on_timer);
PAYLOAD_ENTRY(self_entry, on_self);
PAYLOAD_ENTRY(nmi_entry, on_nmi);

inline void set_gate(uint8_t vector, void (*entry)()) {
  const auto address = reinterpret_cast<uint64_t>(entry);
  interrupt_table[vector] = {
      static_cast<uint16_t>(address),       0x10, 0, 0x8e, static_cast<uint16_t>(address >> 16),
      static_cast<uint32_t>(address >> 32), 0};
}

inline void set_up_pending() {
  set_gate(kPinVector, pin_entry);
  set_gate(kTimerVector, timer_entry);
  set_gate(kSelfVector, self_entry);
  set_gate(kNmiVector, nmi_entry);
  const TableRegister idt = {sizeof(interrupt_table) - 1,
                             reinterpret_cast<uint64_t>(&interrupt_table)};
  asm volatile("lidt %0" ::"m"(idt));
  write32(kLocalApic + 0xf0, 0x1ff);
}

inline void send_to_self(uint32_t message) {
  write32(kLocalApic + 0x310, 0);
  write32(kLocalApic + 0x300, message);
}

// The host freezes this machine when it reads "frozen", and types a key at its clone.
inline void wait_for_key() {
  print("frozen\n");
  while ((in8(kSerial + 5) & 1) == 0) {
  }
  in8(kSerial);
}

inline uint64_t read_msr(uint32_t index) {
  uint32_t low;
  uint32_t high;
  asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
  return static_cast<uint64_t>(high) << 32 | low;
}
inline void write_msr(uint32_t index, uint64_t value) {
  asm volatile("wrmsr" ::"a"(static_cast<uint32_t>(value)), "d"(static_cast<uint32_t>(value >> 32)),
               "c"(index));
}

// Lets in what is pending, until `wanted` holds or it takes too long.
template <class Wanted>
inline void let_in(Wanted wanted) {
  asm volatile("sti");
  for (int i = 0; i < 200000 && !wanted(); ++i) in8(kSerial + 7);
  asm volatile("cli");
}

}  // namespace payload

// The probing guest: a few hundred bytes of ring-0 code, one entry point per thing that Linux needs
// from a processor. It writes one byte to a port when it is done with one of them. payload.cpp has
// the assembly.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "vmm/linux_kvm.h"

namespace thimble::probe {

// In the order in which they are run: what is most likely to go wrong badly comes last.
enum class Step : uint8_t {
  kEnter,  // 64-bit code runs and reaches a port
  kSpeed,  // a counted loop
  kSse,    // pxor
  kPopcnt,
  kCompare16,  // cmpxchg16b
  kXsave,      // xsetbv, xsave
  kAccess,     // stac, clac
  kRdtscp,
  kBreakpoint,  // int3 into a handler, and back
  kSyscall,     // ring 3, syscall into ring 0, sysret, syscall again
};
constexpr size_t kSteps = 10;

constexpr uint16_t kDonePort = 0x10;   // one byte, one of those below
constexpr uint16_t kFaultPort = 0x11;  // the number of an exception that nobody expected
constexpr uint8_t kDoneWell = 1;
constexpr uint8_t kDoneWrong = 2;
constexpr uint8_t kStillUser = 3;  // syscall reached the kernel's code, but in ring 3

// Guest memory: one slot at 0, mapped one to one for both rings.
constexpr uint64_t kMemorySize = 0x10000;

// What a step is called, and what the instruction is for, in a person's words.
const char* name_of(Step step);

// Writes code, page tables, segment, interrupt and task tables into `memory` (kMemorySize bytes,
// zeroed).
void write_payload(std::span<uint8_t> memory);

// Registers to start `step` with; `regs` and `sregs` hold what KVM gave for a fresh vCPU. `loops`
// is for kSpeed: it executes 2 * loops instructions.
void set_registers(Step step, uint64_t loops, kvm_regs& regs, kvm_sregs& sregs);

}  // namespace thimble::probe

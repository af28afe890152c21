// The registers of a vCPU that people look at; a snapshot has all of them.
#pragma once

#include <cstdint>

namespace thimble {

struct Registers {
  uint64_t rax = 0, rbx = 0, rcx = 0, rdx = 0, rsi = 0, rdi = 0, rsp = 0, rbp = 0;
  uint64_t r8 = 0, r9 = 0, r10 = 0, r11 = 0, r12 = 0, r13 = 0, r14 = 0, r15 = 0;
  uint64_t rip = 0, rflags = 0;

  // The system's: only to be read.
  uint64_t cr0 = 0, cr2 = 0, cr3 = 0, cr4 = 0, efer = 0, fs_base = 0, gs_base = 0;
  uint16_t cs = 0;
};

}  // namespace thimble

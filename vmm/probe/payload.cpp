// The probing guest's code and tables; see payload.h.
#include "vmm/probe/payload.h"

#include <cstring>

// Position-independent; entered with interrupts off, %rsp on the kernel stack, %rdi on a scratch
// page, %rcx on the number of loops. Segments: 0x08 and 0x10 kernel, 0x23 and 0x2b user, 0x30 task.
asm(R"(
  .pushsection .rodata.thimble_probe, "a", @progbits
  .balign 16
thimble_probe_code:

enter:
  jmp     holds

speed:
1:
  dec     %rcx
  jnz     1b
  jmp     holds

sse:
  movups  (%rdi), %xmm0
  pxor    %xmm0, %xmm0
  movups  %xmm0, (%rdi)
  jmp     holds

population:
  mov     $0xf0f0, %eax
  popcnt  %eax, %eax
  cmp     $8, %eax
  jne     fails
  jmp     holds

compare16:
  xor     %eax, %eax
  xor     %edx, %edx
  mov     $7, %ebx
  xor     %ecx, %ecx
  lock cmpxchg16b (%rdi)
  jne     fails
  cmpq    $7, (%rdi)
  jne     fails
  jmp     holds

save_state:
  xor     %ecx, %ecx
  xor     %edx, %edx
  mov     $3, %eax                # x87 and SSE
  xsetbv
  xsave64 (%rdi)
  xrstor64 (%rdi)
  jmp     holds

access:
  stac
  clac
  jmp     holds

timestamp:
  rdtscp
  jmp     holds

breakpoint:
  xor     %r15d, %r15d
  int3
  cmp     $1, %r15d
  jne     fails
  jmp     holds

system_call:
  mov     $0xc0000080, %ecx       # EFER: switch syscall on
  rdmsr
  or      $1, %eax
  wrmsr
  mov     $0xc0000081, %ecx       # STAR: kernel segments 0x08, user segments after 0x18
  xor     %eax, %eax
  mov     $0x001b0008, %edx
  wrmsr
  mov     $0xc0000082, %ecx       # LSTAR
  lea     from_user(%rip), %rax
  xor     %edx, %edx
  wrmsr
  mov     $0xc0000084, %ecx       # SFMASK: as Linux sets it
  mov     $0x00257fd5, %eax
  xor     %edx, %edx
  wrmsr
  xor     %r15d, %r15d
  mov     %rsp, %rbp
  push    $0x23
  push    %rbp
  push    $2
  push    $0x2b
  lea     user(%rip), %rax
  push    %rax
  iretq
user:
  mov     %cs, %ebx
  syscall
  syscall
  ud2
from_user:
  mov     %cs, %eax
  test    $3, %al                 # still ring 3: the processor did not switch
  jnz     still_user
  and     $3, %ebx
  cmp     $3, %ebx                # never was in ring 3
  jne     fails
  inc     %r15d
  cmp     $2, %r15d
  je      holds
  sysretq

holds:
  mov     $1, %al
  out     %al, $0x10
  hlt
fails:
  mov     $2, %al
  out     %al, $0x10
  hlt

still_user:
  mov     $3, %al
  out     %al, $0x10
  hlt

  # One handler of 16 bytes per exception; int3's comes back.
  .balign 16
handlers:
  .set    vector, 0
  .rept   32
  .balign 16
  .if     vector == 3
  inc     %r15d
  iretq
  .else
  mov     $vector, %al
  out     %al, $0x11
  hlt
  .endif
  .set    vector, vector + 1
  .endr
  .balign 16
thimble_probe_end:

  .balign 4
thimble_probe_entries:
  .long   enter - thimble_probe_code, speed - thimble_probe_code
  .long   sse - thimble_probe_code, population - thimble_probe_code
  .long   compare16 - thimble_probe_code, save_state - thimble_probe_code
  .long   access - thimble_probe_code, timestamp - thimble_probe_code
  .long   breakpoint - thimble_probe_code, system_call - thimble_probe_code
thimble_probe_handlers:
  .long   handlers - thimble_probe_code
  .popsection
)");

// Local to this object file: the assembly above does not export them.
extern "C" {
extern const uint8_t thimble_probe_code[] __attribute__((visibility("hidden")));
extern const uint8_t thimble_probe_end[] __attribute__((visibility("hidden")));
extern const uint32_t thimble_probe_entries[] __attribute__((visibility("hidden")));
extern const uint32_t thimble_probe_handlers __attribute__((visibility("hidden")));
}

namespace thimble::probe {

namespace {

constexpr uint64_t kPageTables = 0x1000;  // three levels, one page each
constexpr uint64_t kGdt = 0x4000;
constexpr uint64_t kTask = 0x4100;
constexpr uint64_t kIdt = 0x4200;
constexpr uint64_t kScratch = 0x6000;
constexpr uint64_t kStackTop = 0x9000;
constexpr uint64_t kTrapStackTop = 0xa000;  // where exceptions from ring 3 arrive
constexpr uint64_t kCode = 0xa000;

constexpr std::array<uint64_t, 6> kSegments = {
    0, 0x00af9b000000ffff, 0x00cf93000000ffff,  // kernel code, data
    0, 0x00cff3000000ffff, 0x00affb000000ffff,  // user data, code, in the order sysret wants
};
constexpr size_t kVectors = 32;
constexpr uint64_t kBreakpointVector = 3;
constexpr uint64_t kHandlerSize = 16;
constexpr uint32_t kTaskLimit = 0x67;

constexpr uint64_t kUserPage = 0x7;  // present, writable, for ring 3 too
constexpr uint64_t kLargePage = 0x80;
constexpr uint64_t kCr0 = 0x80050033;  // PG, AM, WP, NE, ET, MP, PE
constexpr uint64_t kCr4 = 0x620;       // PAE, OSFXSR, OSXMMEXCPT
constexpr uint64_t kCr4Osxsave = 0x40000;
constexpr uint64_t kEferLongMode = 0x500;  // LME, LMA

template <class T>
void put(std::span<uint8_t> memory, uint64_t at, const T& value) {
  std::memcpy(memory.subspan(at, sizeof(T)).data(), &value, sizeof(T));
}

// An interrupt gate to ring 0 (Intel SDM 3A, 6.14.1). All addresses here fit into 16 bits.
uint64_t gate(uint64_t handler, bool from_ring3) {
  const uint64_t attributes = from_ring3 ? 0xee00 : 0x8e00;
  return handler | (0x08 << 16) | (attributes << 32);
}

kvm_segment segment(uint16_t selector, uint8_t type, bool code) {
  kvm_segment out{};
  out.limit = 0xffffffff;
  out.selector = selector;
  out.type = type;
  out.present = out.s = out.g = 1;
  out.l = code ? 1 : 0;
  out.db = code ? 0 : 1;
  return out;
}

}  // namespace

const char* name_of(Step step) {
  constexpr std::array<const char*, kSteps> kNames = {"64-bit code",       "a counted loop",
                                                      "SSE (pxor)",        "popcnt",
                                                      "cmpxchg16b",        "xsave",
                                                      "stac and clac",     "rdtscp",
                                                      "int3 to a handler", "syscall from ring 3"};
  return kNames[static_cast<size_t>(step)];
}

void write_payload(std::span<uint8_t> memory) {
  put(memory, kPageTables, (kPageTables + 0x1000) | kUserPage);
  put(memory, kPageTables + 0x1000, (kPageTables + 0x2000) | kUserPage);
  put(memory, kPageTables + 0x2000, kUserPage | kLargePage);
  put(memory, kGdt, kSegments);
  put(memory, kTask + 4, kTrapStackTop);  // RSP0
  for (uint64_t vector = 0; vector < kVectors; ++vector) {
    const uint64_t handler = kCode + thimble_probe_handlers + vector * kHandlerSize;
    put(memory, kIdt + vector * 16, gate(handler, vector == kBreakpointVector));
  }
  const auto size = static_cast<size_t>(thimble_probe_end - thimble_probe_code);
  std::memcpy(memory.subspan(kCode, size).data(), thimble_probe_code, size);
}

void set_registers(Step step, uint64_t loops, kvm_regs& regs, kvm_sregs& sregs) {
  sregs.cs = segment(0x08, 0xb, true);
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment(0x10, 0x3, false);
  sregs.tr = segment(0x30, 0xb, false);
  sregs.tr.base = kTask;
  sregs.tr.limit = kTaskLimit;
  sregs.tr.s = sregs.tr.g = sregs.tr.db = 0;
  sregs.gdt = {.base = kGdt, .limit = sizeof(kSegments) - 1, .padding = {}};
  sregs.idt = {.base = kIdt, .limit = kVectors * 16 - 1, .padding = {}};
  sregs.cr0 = kCr0;
  sregs.cr3 = kPageTables;
  sregs.cr4 = kCr4 | (step == Step::kXsave ? kCr4Osxsave : 0);
  sregs.efer = kEferLongMode;
  regs = {};
  regs.rip = kCode + thimble_probe_entries[static_cast<size_t>(step)];
  regs.rsp = kStackTop;
  regs.rdi = kScratch;
  regs.rcx = loops;
  regs.rflags = 0x2;
}

}  // namespace thimble::probe

// RSI points at a zero page with the boot flag, a memory map and the command line; memory above
// 1 MiB can be written to its end.
#include "payload.h"

extern "C" [[noreturn]] void begin(uint64_t zero_page) {
  const auto* page = reinterpret_cast<const uint8_t*>(zero_page);
  payload::check(page[0x1fe] == 0x55 && page[0x1ff] == 0xaa, "boot flag");
  payload::check(page[0x1e8] >= 2, "memory map has entries");
  const char* line =
      reinterpret_cast<const char*>(static_cast<uint64_t>(payload::read32(zero_page + 0x228)));
  payload::print(line);
  payload::print("\n");
  const uint64_t last = 32ULL * 1024 * 1024 - 4;
  payload::write32(last, 0x5a5a5a5a);
  payload::check(payload::read32(last) == 0x5a5a5a5a, "the last word of memory");
  payload::print("ok\n");
  payload::power_off();
}

asm(R"(
  .globl _start
_start:
  mov %rsi, %rdi
  call begin
)");

// See embedded_init.h. THIMBLE_INIT_CPIO is the file's path, given by tools/cli/cli.mk.
#include "pool/launch/embedded_init.h"

__asm__(
    ".section .rodata\n"
    ".balign 16\n"
    "thimble_embedded_init:\n"
    ".incbin \"" THIMBLE_INIT_CPIO
    "\"\n"
    "thimble_embedded_init_end:\n"
    ".previous\n");

extern "C" {
extern const uint8_t thimble_embedded_init[];
extern const uint8_t thimble_embedded_init_end[];
}

namespace thimble::launch {

std::span<const uint8_t> embedded_init() {
  return {thimble_embedded_init, thimble_embedded_init_end};
}

}  // namespace thimble::launch

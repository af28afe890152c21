// Loading a bzImage (vmlinuz), the file that distributions install (Documentation/x86/boot.rst).
//
//   0                  boot sector; the setup header begins at 0x1f1, "HdrS" at 0x202
//   0x200              real-mode setup code, not used here: (setup_sects + 1) sectors in all
//   then               the "protected-mode kernel": a decompressor with its payload, entered in
//                      64-bit mode at its byte 0x200
//
// It unpacks itself over the place where it was put, which needs init_size bytes from there. The
// file is foreign: every number in it is checked before it is used.
#pragma once

#include <asm/bootparam.h>

#include <cstdint>

#include "devices/guest_memory.h"
#include "devices/result.h"

namespace thimble {

struct LoadedBzImage {
  Gpa entry = 0;          // 64-bit entry point
  Gpa end = 0;            // first byte after what the kernel needs to unpack itself
  setup_header header{};  // the file's own, for the zero page
};

// Whether the file looks like one: boot flag and "HdrS".
bool is_bz_image(int fd);

// Puts the kernel where it prefers to be; one that prefers a place below `lowest` is moved if it
// can be. `name` is for messages.
Result<LoadedBzImage> load_bz_image(int fd, const char* name, const GuestMemory& memory,
                                    Gpa lowest);

}  // namespace thimble

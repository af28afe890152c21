// Whole small files of the kernel's file systems, read and written with one call each.
#pragma once

#include <stddef.h>

namespace thimble::init {

// Reads at most `capacity` - 1 bytes and ends them with a NUL; how many, 0 when it cannot be read.
size_t read_file(const char* path, char* buffer, size_t capacity);

// Writes into a file that is there; false, with errno, when that is refused.
[[nodiscard]] bool write_file(const char* path, const char* text);

}  // namespace thimble::init

// Reading an exact range of a file.
#pragma once

#include <cstdint>
#include <span>

namespace thimble {

// Fills `out` from `offset` on; false on an error or when the file ends before.
bool read_at(int fd, uint64_t offset, std::span<uint8_t> out);

}  // namespace thimble

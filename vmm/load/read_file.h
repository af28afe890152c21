// Opening a foreign file, and reading an exact range of it.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "devices/fd.h"
#include "devices/result.h"

namespace thimble {

struct ForeignFile {
  std::string path;
  int given = -1;  // already open, not owned: the path is only for messages then

  [[nodiscard]] bool named() const { return !path.empty() || given >= 0; }
};

// Opens a regular file for reading, or duplicates the given descriptor; `what` is for messages. A
// FIFO is refused instead of waited for.
Result<Fd> open_regular(const char* what, const ForeignFile& file);

// A root image, to be a disk. Reads of it wait, unlike those of what is only looked at.
Result<Fd> open_image(const std::string& path);

// Fills `out` from `offset` on; false on an error or when the file ends before.
bool read_at(int fd, uint64_t offset, std::span<uint8_t> out);

}  // namespace thimble

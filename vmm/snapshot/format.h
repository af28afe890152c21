// The state file of a snapshot: a row of named sections, checked from the first byte to the last.
//
//   header    8  magic "THMBSNAP"
//             4  format version
//             4  number of sections
//             8  length of the file in bytes
//   section   1  length of the name      n  name
//             4  version of the section  8  length of the payload    4  CRC-32C of the payload
//             p  payload, in the encoding of devices/state.h: every field by name
//   trailer   4  CRC-32C of everything before it
//
// All numbers are little-endian. Sections and their order: docs/snapshots.md.
//
// Reading is a function over bytes that anybody may have written. It allocates nothing that the
// bytes do not pay for, and gives either all sections or one line that says what is wrong.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "devices/result.h"

namespace thimble {

constexpr uint32_t kSnapshotFormat = 1;
// No state file of ours comes near it; a file beyond it is not read at all.
constexpr uint64_t kMaxStateFile = 64ULL << 20;

struct Section {
  std::string name;
  uint32_t version = 1;
  std::vector<uint8_t> payload;
};

std::vector<uint8_t> write_sections(std::span<const Section> sections);
Result<std::vector<Section>> read_sections(std::span<const uint8_t> file);

}  // namespace thimble

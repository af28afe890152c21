// What a program or shared library asks of the dynamic loader, read from its ELF headers alone. The
// file may be anybody's: it is never run, nor given to a loader; every offset and count is checked,
// and only a few KiB of it are read.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "pool/image/files.h"

namespace thimble::image {

struct ElfNeeds {
  enum class Kind {
    kNone,     // no ELF file, or none that a loader would take
    kForeign,  // for another processor, or 32-bit
    kGlibc,    // for x86-64; `needed` is empty for a static program
    kMusl,     // for x86-64 with musl as its C library, which our images do not have
  };
  Kind kind = Kind::kNone;
  std::string soname;               // empty: none
  std::vector<std::string> needed;  // DT_NEEDED, names of libraries
  std::vector<std::string> search;  // folders of DT_RUNPATH or else DT_RPATH, as written
};

// A link is not followed, a FIFO not waited for.
ElfNeeds read_elf_needs(const std::filesystem::path& file);
// Of a file that is open for reading.
ElfNeeds read_elf_needs(const Descriptor& file);

// Names that a library may have here: letters, digits and "._+-", as Debian's all do.
bool is_plain_soname(const std::string& name);

}  // namespace thimble::image

// A small, honest kernel image that tests then spoil.
#pragma once

#include <elf.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace thimble::test {

// One file: header, program headers, contents. Segments are added in order.
class ElfImage {
 public:
  Elf64_Ehdr header{};
  std::vector<Elf64_Phdr> segments;
  std::vector<uint8_t> contents;

  ElfImage() {
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_ident[EI_VERSION] = EV_CURRENT;
    header.e_type = ET_EXEC;
    header.e_machine = EM_X86_64;
    header.e_phoff = sizeof(Elf64_Ehdr);
    header.e_phentsize = sizeof(Elf64_Phdr);
  }

  // `size` bytes of `fill` for `address`, with room for more zeros after them.
  Elf64_Phdr& add(uint64_t address, uint64_t size, uint8_t fill, uint64_t zeros = 0) {
    Elf64_Phdr segment{};
    segment.p_type = PT_LOAD;
    segment.p_offset = kContents + contents.size();
    segment.p_paddr = segment.p_vaddr = address;
    segment.p_filesz = size;
    segment.p_memsz = size + zeros;
    contents.insert(contents.end(), size, fill);
    segments.push_back(segment);
    if (header.e_entry == 0) header.e_entry = address;
    header.e_phnum = static_cast<uint16_t>(segments.size());
    return segments.back();
  }

  void add_notes(std::span<const uint8_t> notes) {
    Elf64_Phdr segment{};
    segment.p_type = PT_NOTE;
    segment.p_offset = kContents + contents.size();
    segment.p_filesz = segment.p_memsz = notes.size();
    contents.insert(contents.end(), notes.begin(), notes.end());
    segments.push_back(segment);
    header.e_phnum = static_cast<uint16_t>(segments.size());
  }

  [[nodiscard]] std::vector<uint8_t> bytes() const {
    std::vector<uint8_t> out(kContents);
    std::memcpy(out.data(), &header, sizeof(header));
    std::memcpy(out.data() + sizeof(header), segments.data(), segments.size() * sizeof(Elf64_Phdr));
    out.insert(out.end(), contents.begin(), contents.end());
    return out;
  }

 private:
  static constexpr size_t kContents = 0x1000;
};

}  // namespace thimble::test

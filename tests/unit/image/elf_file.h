// Makes small ELF files for the tests, right or wrong in single fields.
#pragma once

#include <elf.h>

#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace thimble::image {

struct ElfFile {
  unsigned char elf_class = ELFCLASS64;
  Elf64_Half machine = EM_X86_64;
  Elf64_Half type = ET_DYN;
  std::string interpreter = {};
  std::vector<std::pair<Elf64_Sxword, std::string>> dynamic = {};  // DT_NEEDED, "libc.so.6" …
  std::string text = {};                                           // anything, at the end

  std::string bytes() const {
    constexpr Elf64_Off kStrings = sizeof(Elf64_Ehdr) + 3 * sizeof(Elf64_Phdr);
    std::string strings("\0", 1);
    std::vector<Elf64_Dyn> entries;
    for (const auto& [tag, name] : dynamic) {
      entries.push_back({tag, {strings.size()}});
      strings += name + '\0';
    }
    const Elf64_Off interpreter_at = kStrings + strings.size();
    strings += interpreter + '\0';
    entries.push_back({DT_STRTAB, {kStrings}});
    entries.push_back({DT_STRSZ, {strings.size()}});
    entries.push_back({DT_NULL, {0}});
    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = elf_class;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_type = type;
    header.e_machine = machine;
    header.e_phoff = sizeof header;
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = 3;
    const Elf64_Off dynamic_at = kStrings + strings.size();
    const std::size_t dynamic_size = entries.size() * sizeof(Elf64_Dyn);
    Elf64_Phdr segments[3]{};
    segments[0].p_type = PT_LOAD;
    segments[0].p_filesz = dynamic_at + dynamic_size;
    segments[1].p_type = PT_DYNAMIC;
    segments[1].p_offset = dynamic_at;
    segments[1].p_filesz = dynamic_size;
    segments[2].p_type = interpreter.empty() ? PT_NULL : PT_INTERP;
    segments[2].p_offset = interpreter_at;
    segments[2].p_filesz = interpreter.size() + 1;
    std::string file(reinterpret_cast<const char*>(&header), sizeof header);
    file.append(reinterpret_cast<const char*>(segments), sizeof segments);
    file += strings;
    file.append(reinterpret_cast<const char*>(entries.data()), dynamic_size);
    return file + text;
  }
};

}  // namespace thimble::image

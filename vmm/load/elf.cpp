// See elf.h.
#include "vmm/load/elf.h"

#include <elf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "devices/text.h"
#include "vmm/load/read_file.h"

namespace thimble {

namespace {

constexpr size_t kMaxSegments = 64;

Result<Elf64_Ehdr> read_header(int fd, const char* name) {
  Elf64_Ehdr header{};
  const auto raw = std::span(reinterpret_cast<uint8_t*>(&header), sizeof(header));
  if (!read_at(fd, 0, raw) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) {
    return fail(text("kernel %s: not an ELF file: give an uncompressed vmlinux", name));
  }
  const bool ours = header.e_ident[EI_CLASS] == ELFCLASS64 &&
                    header.e_ident[EI_DATA] == ELFDATA2LSB && header.e_machine == EM_X86_64 &&
                    header.e_type == ET_EXEC;
  if (!ours) return fail(text("kernel %s: not an x86-64 executable (ELF64, ET_EXEC)", name));
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum == 0 ||
      header.e_phnum > kMaxSegments) {
    return fail(text("kernel %s: its program header table is not valid", name));
  }
  return header;
}

Result<void> load_segment(int fd, const char* name, const Elf64_Phdr& segment, uint64_t file_size,
                          const GuestMemory& memory, Gpa lowest) {
  uint64_t file_end = 0;
  if (segment.p_filesz > segment.p_memsz ||
      __builtin_add_overflow(segment.p_offset, segment.p_filesz, &file_end) ||
      file_end > file_size) {
    return fail(text("kernel %s: a segment is longer than the file: is it cut short?", name));
  }
  uint8_t* to = memory.at(segment.p_paddr, segment.p_memsz);
  if (to == nullptr || segment.p_paddr < lowest) {
    return fail(text("kernel %s: segment at %#lx of %lu KiB does not fit into guest memory", name,
                     segment.p_paddr, segment.p_memsz >> 10));
  }
  if (!read_at(fd, segment.p_offset, std::span(to, segment.p_filesz))) {
    return fail_errno(text("read kernel %s", name));
  }
  return {};  // what lies beyond p_filesz is zero already: the memory is fresh
}

}  // namespace

Result<LoadedElf> load_elf(int fd, const char* name, const GuestMemory& memory, Gpa lowest) {
  struct stat info{};
  if (fstat(fd, &info) != 0) return fail_errno(text("kernel %s", name));
  auto header = read_header(fd, name);
  if (!header) return std::unexpected(header.error());
  std::vector<Elf64_Phdr> segments(header->e_phnum);
  const auto raw =
      std::span(reinterpret_cast<uint8_t*>(segments.data()), segments.size() * sizeof(Elf64_Phdr));
  if (!read_at(fd, header->e_phoff, raw)) {
    return fail(text("kernel %s: its program headers lie outside the file", name));
  }
  LoadedElf loaded{.entry = header->e_entry, .end = 0};
  bool entry_inside = false;
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type != PT_LOAD || segment.p_memsz == 0) continue;
    auto done =
        load_segment(fd, name, segment, static_cast<uint64_t>(info.st_size), memory, lowest);
    if (!done) return std::unexpected(done.error());
    loaded.end = std::max(loaded.end, segment.p_paddr + segment.p_memsz);
    entry_inside |=
        loaded.entry >= segment.p_paddr && loaded.entry - segment.p_paddr < segment.p_filesz;
  }
  if (!entry_inside) return fail(text("kernel %s: its entry point is in no segment", name));
  return loaded;
}

}  // namespace thimble

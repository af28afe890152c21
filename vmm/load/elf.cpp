// See elf.h.
#include "vmm/load/elf.h"

#include <elf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "devices/text.h"
#include "vmm/load/read_file.h"

namespace thimble {

namespace {

constexpr size_t kMaxSegments = 64;
constexpr uint64_t kMaxNotes = 64UL * 1024;
constexpr size_t kMaxBuildSalt = 64;
constexpr uint32_t kXenPhys32Entry = 18;
constexpr uint32_t kLinuxBuildSalt = 0x100;

struct ElfFile {
  int fd;
  const char* name;
  uint64_t size;
};

// What the headers of both classes say, in the wide form.
struct ElfHeaders {
  bool wide = true;
  Gpa entry = 0;
  std::vector<Elf64_Phdr> segments;
};

Elf64_Phdr widen(const Elf64_Phdr& segment) { return segment; }

Elf64_Phdr widen(const Elf32_Phdr& segment) {
  Elf64_Phdr out{};
  out.p_type = segment.p_type;
  out.p_flags = segment.p_flags;
  out.p_offset = segment.p_offset;
  out.p_vaddr = segment.p_vaddr;
  out.p_paddr = segment.p_paddr;
  out.p_filesz = segment.p_filesz;
  out.p_memsz = segment.p_memsz;
  out.p_align = segment.p_align;
  return out;
}

template <class Header, class Segment>
Result<ElfHeaders> read_headers(const ElfFile& file, uint16_t machine) {
  Header header{};
  const auto raw = std::span(reinterpret_cast<uint8_t*>(&header), sizeof(header));
  if (!read_at(file.fd, 0, raw)) {
    return fail(text("kernel %s: its ELF header is cut short", file.name));
  }
  if (header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_machine != machine ||
      header.e_type != ET_EXEC) {
    return fail(text("kernel %s: not an x86-64 executable (ELF, ET_EXEC)", file.name));
  }
  if (header.e_phentsize != sizeof(Segment) || header.e_phnum == 0 ||
      header.e_phnum > kMaxSegments) {
    return fail(text("kernel %s: its program header table is not valid", file.name));
  }
  std::vector<Segment> segments(header.e_phnum);
  const auto table =
      std::span(reinterpret_cast<uint8_t*>(segments.data()), segments.size() * sizeof(Segment));
  if (!read_at(file.fd, header.e_phoff, table)) {
    return fail(text("kernel %s: its program headers lie outside the file", file.name));
  }
  ElfHeaders out;
  out.wide = sizeof(Header) == sizeof(Elf64_Ehdr);
  out.entry = header.e_entry;
  for (const Segment& segment : segments) out.segments.push_back(widen(segment));
  return out;
}

Result<ElfHeaders> read_headers(const ElfFile& file) {
  uint8_t ident[EI_NIDENT] = {};
  if (!read_at(file.fd, 0, ident) || std::memcmp(ident, ELFMAG, SELFMAG) != 0) {
    return fail(
        text("kernel %s: neither an ELF file nor a bzImage: give an uncompressed vmlinux, or a "
             "vmlinuz of x86-64 Linux",
             file.name));
  }
  switch (ident[EI_CLASS]) {
    case ELFCLASS64:
      return read_headers<Elf64_Ehdr, Elf64_Phdr>(file, EM_X86_64);
    case ELFCLASS32:
      return read_headers<Elf32_Ehdr, Elf32_Phdr>(file, EM_386);
    default:
      return fail(text("kernel %s: not an x86-64 executable (ELF, ET_EXEC)", file.name));
  }
}

Result<void> load_segment(const ElfFile& file, const Elf64_Phdr& segment, const GuestMemory& memory,
                          Gpa lowest) {
  uint64_t file_end = 0;
  if (segment.p_filesz > segment.p_memsz ||
      __builtin_add_overflow(segment.p_offset, segment.p_filesz, &file_end) ||
      file_end > file.size) {
    return fail(text("kernel %s: a segment is longer than the file: is it cut short?", file.name));
  }
  uint8_t* to = memory.at(segment.p_paddr, segment.p_memsz);
  if (to == nullptr || segment.p_paddr < lowest) {
    return fail(text("kernel %s: segment at %#lx of %lu KiB does not fit into guest memory",
                     file.name, segment.p_paddr, segment.p_memsz >> 10));
  }
  if (!read_at(file.fd, segment.p_offset, std::span(to, segment.p_filesz))) {
    return fail_errno(text("read kernel %s", file.name));
  }
  return {};  // what lies beyond p_filesz is zero already: the memory is fresh
}

struct Note {
  std::string_view owner;
  uint32_t type = 0;
  std::span<const uint8_t> value;
};

void take_note(const Note& note, LoadedElf& loaded) {
  if (note.owner == "Linux") {
    loaded.linux_notes = true;
    if (note.type == kLinuxBuildSalt) {
      const std::string_view salt(reinterpret_cast<const char*>(note.value.data()),
                                  std::min(note.value.size(), kMaxBuildSalt));
      loaded.build_salt = salt.substr(0, salt.find('\0'));
    }
  }
  if (note.owner == "Xen" && note.type == kXenPhys32Entry && note.value.size() >= 4) {
    uint64_t entry = 0;  // four or eight bytes
    std::memcpy(&entry, note.value.data(), std::min(note.value.size(), sizeof(entry)));
    loaded.pvh_entry = entry;
  }
}

// A note: u32 size of owner (with its zero), u32 size of value, u32 type; owner and value follow,
// each padded to four bytes. What does not add up ends the list.
void read_notes(std::span<const uint8_t> bytes, LoadedElf& loaded) {
  constexpr size_t kHeader = 12;
  const auto padded = [](uint64_t size) { return (size + 3) & ~uint64_t{3}; };
  while (bytes.size() >= kHeader) {
    uint32_t head[3];
    std::memcpy(head, bytes.data(), sizeof(head));
    bytes = bytes.subspan(kHeader);
    const uint64_t owner_room = padded(head[0]);
    if (head[0] == 0 || owner_room > bytes.size() || head[1] > bytes.size() - owner_room) return;
    const std::string_view owner(reinterpret_cast<const char*>(bytes.data()), head[0] - 1);
    take_note({.owner = owner, .type = head[2], .value = bytes.subspan(owner_room, head[1])},
              loaded);
    bytes = bytes.subspan(std::min<uint64_t>(owner_room + padded(head[1]), bytes.size()));
  }
}

// Notes only advise, so a segment that lies is as good as none.
void read_note_segment(const ElfFile& file, const Elf64_Phdr& segment, LoadedElf& loaded) {
  std::vector<uint8_t> bytes(std::min(segment.p_filesz, kMaxNotes));
  if (!read_at(file.fd, segment.p_offset, bytes)) return;
  read_notes(bytes, loaded);
}

bool holds(const std::vector<Elf64_Phdr>& segments, Gpa address) {
  return std::ranges::any_of(segments, [address](const Elf64_Phdr& segment) {
    return segment.p_type == PT_LOAD && address >= segment.p_paddr &&
           address - segment.p_paddr < std::min(segment.p_filesz, segment.p_memsz);
  });
}

}  // namespace

Result<LoadedElf> load_elf(int fd, const char* name, const GuestMemory& memory, Gpa lowest) {
  struct stat info{};
  if (fstat(fd, &info) != 0) return fail_errno(text("kernel %s", name));
  const ElfFile file{.fd = fd, .name = name, .size = static_cast<uint64_t>(info.st_size)};
  auto headers = read_headers(file);
  if (!headers) return std::unexpected(headers.error());
  LoadedElf loaded;
  for (const Elf64_Phdr& segment : headers->segments) {
    if (segment.p_type == PT_NOTE) read_note_segment(file, segment, loaded);
    if (segment.p_type != PT_LOAD || segment.p_memsz == 0) continue;
    if (auto done = load_segment(file, segment, memory, lowest); !done) {
      return std::unexpected(done.error());
    }
    loaded.end = std::max(loaded.end, segment.p_paddr + segment.p_memsz);
  }
  if (headers->wide && holds(headers->segments, headers->entry)) loaded.entry = headers->entry;
  if (loaded.pvh_entry && !holds(headers->segments, *loaded.pvh_entry)) loaded.pvh_entry.reset();
  if (loaded.entry || loaded.pvh_entry) return loaded;
  if (!headers->wide) {
    return fail(
        text("kernel %s: a 32-bit image without a PVH entry note: give a vmlinux of x86-64", name));
  }
  return fail(text("kernel %s: its entry point is in no segment", name));
}

}  // namespace thimble

// See elf_needs.h.
#include "pool/image/elf_needs.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <optional>

namespace thimble::image {
namespace {

constexpr std::size_t kMaxHeaders = 128;   // program headers; real files have about a dozen
constexpr std::size_t kMaxEntries = 4096;  // of the dynamic section
constexpr std::size_t kMaxNeeded = 256;
constexpr std::size_t kMaxString = 4096;

class Reader {
 public:
  explicit Reader(const Descriptor& file) : file_(file) {
    struct stat status{};
    if (!file_ || ::fstat(file_.get(), &status) != 0 || !S_ISREG(status.st_mode)) return;
    size_ = static_cast<std::uint64_t>(status.st_size);
  }

  bool bytes(std::uint64_t at, void* to, std::size_t count) const {
    if (count > size_ || at > size_ - count) return false;
    return ::pread(file_.get(), to, count, static_cast<off_t>(at)) == static_cast<ssize_t>(count);
  }
  template <class T>
  bool value(std::uint64_t at, T& to) const {
    return bytes(at, &to, sizeof to);
  }
  template <class T>
  bool table(std::uint64_t at, std::uint64_t count, std::vector<T>& to) const {
    to.resize(count);
    return bytes(at, to.data(), count * sizeof(T));
  }
  // Up to `limit` bytes from `at`, which must have a NUL among them.
  std::optional<std::string> text(std::uint64_t at, std::uint64_t limit) const {
    if (at >= size_) return std::nullopt;
    std::string found(std::min({limit, size_ - at, std::uint64_t{kMaxString}}), '\0');
    if (!bytes(at, found.data(), found.size())) return std::nullopt;
    const std::size_t end = found.find('\0');
    if (end == std::string::npos) return std::nullopt;
    found.resize(end);
    return found;
  }

 private:
  const Descriptor& file_;
  std::uint64_t size_ = 0;
};

struct Headers {
  Elf64_Ehdr file{};
  std::vector<Elf64_Phdr> segments;

  const Elf64_Phdr* first(std::uint32_t type) const {
    const auto found = std::ranges::find(segments, type, &Elf64_Phdr::p_type);
    return found == segments.end() ? nullptr : &*found;
  }
  // Where the byte that is loaded at `address` lies in the file, and how many follow it.
  std::optional<std::pair<std::uint64_t, std::uint64_t>> place(std::uint64_t address) const {
    for (const Elf64_Phdr& segment : segments) {
      if (segment.p_type != PT_LOAD || address < segment.p_vaddr) continue;
      const std::uint64_t inside = address - segment.p_vaddr;
      if (inside >= segment.p_filesz || segment.p_offset > ~inside) continue;
      return std::pair(segment.p_offset + inside, segment.p_filesz - inside);
    }
    return std::nullopt;
  }
};

std::optional<ElfNeeds::Kind> wrong_kind(const unsigned char* ident) {
  if (std::memcmp(ident, ELFMAG, SELFMAG) != 0) return ElfNeeds::Kind::kNone;
  if (ident[EI_CLASS] != ELFCLASS64 || ident[EI_DATA] != ELFDATA2LSB) {
    return ElfNeeds::Kind::kForeign;
  }
  return std::nullopt;
}

ElfNeeds::Kind read_headers(const Reader& reader, Headers& headers) {
  unsigned char ident[EI_NIDENT];
  if (!reader.value(0, ident)) return ElfNeeds::Kind::kNone;
  if (const auto wrong = wrong_kind(ident)) return *wrong;
  Elf64_Ehdr& file = headers.file;
  if (!reader.value(0, file)) return ElfNeeds::Kind::kNone;
  if (file.e_machine != EM_X86_64) return ElfNeeds::Kind::kForeign;
  const bool loadable = (file.e_type == ET_EXEC || file.e_type == ET_DYN) &&
                        file.e_phentsize == sizeof(Elf64_Phdr) && file.e_phnum <= kMaxHeaders;
  if (!loadable || !reader.table(file.e_phoff, file.e_phnum, headers.segments)) {
    return ElfNeeds::Kind::kNone;
  }
  return ElfNeeds::Kind::kGlibc;
}

// The folders of "a:b::c".
std::vector<std::string> split_search(const std::string& list) {
  std::vector<std::string> folders;
  for (std::size_t at = 0; at <= list.size();) {
    const std::size_t end = std::min(list.find(':', at), list.size());
    if (end > at) folders.push_back(list.substr(at, end - at));
    at = end + 1;
  }
  return folders;
}

// The dynamic section: numbers first, then the strings that they stand for.
bool read_dynamic(const Reader& reader, const Headers& headers, ElfNeeds& needs) {
  const Elf64_Phdr* const dynamic = headers.first(PT_DYNAMIC);
  if (dynamic == nullptr) return true;
  const std::uint64_t count = dynamic->p_filesz / sizeof(Elf64_Dyn);
  std::vector<Elf64_Dyn> entries;
  if (count > kMaxEntries || !reader.table(dynamic->p_offset, count, entries)) return false;
  entries.erase(std::ranges::find(entries, DT_NULL, &Elf64_Dyn::d_tag), entries.end());
  std::uint64_t table = 0;
  std::uint64_t size = 0;
  for (const Elf64_Dyn& entry : entries) {
    if (entry.d_tag == DT_STRTAB) table = entry.d_un.d_ptr;
    if (entry.d_tag == DT_STRSZ) size = entry.d_un.d_val;
  }
  const auto strings = headers.place(table);
  std::string rpath;
  std::string runpath;
  for (const Elf64_Dyn& entry : entries) {
    const auto tag = entry.d_tag;
    if (tag != DT_NEEDED && tag != DT_SONAME && tag != DT_RPATH && tag != DT_RUNPATH) continue;
    const std::uint64_t at = entry.d_un.d_val;
    if (!strings || at >= size || at >= strings->second) return false;
    const auto text = reader.text(strings->first + at, std::min(size, strings->second) - at);
    if (!text) return false;
    if (tag == DT_NEEDED) needs.needed.push_back(*text);
    if (tag == DT_SONAME) needs.soname = *text;
    if (tag == DT_RPATH) rpath = *text;
    if (tag == DT_RUNPATH) runpath = *text;
    if (needs.needed.size() > kMaxNeeded) return false;
  }
  needs.search = split_search(runpath.empty() ? rpath : runpath);
  return true;
}

// musl's own names: its loader, and its library as its compilers and as others call it.
bool is_musl(const std::string& interpreter, const std::vector<std::string>& needed) {
  if (interpreter.find("/ld-musl-") != std::string::npos) return true;
  return std::ranges::any_of(needed, [](const std::string& name) {
    return name.starts_with("libc.musl-") || name.starts_with("ld-musl-") || name == "libc.so";
  });
}

}  // namespace

ElfNeeds read_elf_needs(const std::filesystem::path& file) {
  return read_elf_needs(
      Descriptor(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)));
}

ElfNeeds read_elf_needs(const Descriptor& file) {
  const Reader reader(file);
  ElfNeeds needs;
  Headers headers;
  needs.kind = read_headers(reader, headers);
  if (needs.kind != ElfNeeds::Kind::kGlibc) return needs;
  std::string interpreter;
  if (const Elf64_Phdr* const named = headers.first(PT_INTERP)) {
    interpreter = reader.text(named->p_offset, named->p_filesz).value_or("");
  }
  if (!read_dynamic(reader, headers, needs)) return {};
  if (is_musl(interpreter, needs.needed)) needs.kind = ElfNeeds::Kind::kMusl;
  return needs;
}

bool is_plain_soname(const std::string& name) {
  const auto plain = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '+' || c == '-';
  };
  return !name.empty() && name.size() <= 128 && name.front() != '.' && name.front() != '-' &&
         std::ranges::all_of(name, plain);
}

}  // namespace thimble::image

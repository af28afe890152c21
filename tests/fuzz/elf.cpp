// A kernel file of any bytes: loading it writes guest memory at or above the lowest address and
// nothing else, and an entry point that is accepted lies in memory.
#include "vmm/load/elf.h"

#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/fd.h"
#include "tests/fuzz/virtio_guest.h"

namespace thimble::fuzz {
namespace {

constexpr Gpa kLowest = 0x2000;

// A header that is right, so that the input's bytes reach the program headers.
std::vector<uint8_t> make_file(Input& input) {
  std::vector<uint8_t> file;
  const auto put = [&file](const auto& value) {
    const auto* raw = reinterpret_cast<const uint8_t*>(&value);
    file.insert(file.end(), raw, raw + sizeof(value));
  };
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_machine = EM_X86_64;
  header.e_type = ET_EXEC;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = static_cast<uint16_t>(input.below(8));
  header.e_phoff = input.below(8) == 0 ? input.take<uint64_t>() : sizeof(header);
  header.e_entry = Memory::address(input);
  put(header);
  for (int i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment{};
    const uint32_t types[] = {PT_LOAD, PT_LOAD, PT_LOAD, PT_NOTE};
    segment.p_type = input.below(8) == 0 ? input.take<uint32_t>() : types[input.below(4)];
    segment.p_offset = input.below(4) == 0 ? input.take<uint64_t>() : input.take<uint8_t>();
    segment.p_paddr = Memory::address(input);
    segment.p_filesz = input.below(4) == 0 ? input.take<uint64_t>() : input.take<uint8_t>();
    segment.p_memsz = input.coin() ? segment.p_filesz : Memory::length(input);
    put(segment);
  }
  const auto rest = input.all();
  file.insert(file.end(), rest.begin(), rest.end());
  return file;
}

}  // namespace
}  // namespace thimble::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace thimble;
  fuzz::Input input(data, size);
  const fuzz::Memory memory;
  std::vector<uint8_t> file;
  if (input.coin()) {
    file = fuzz::make_file(input);
  } else {
    const auto raw = input.all();
    file.assign(raw.begin(), raw.end());
  }
  const Fd fd(memfd_create("kernel", MFD_CLOEXEC));
  FUZZ_CHECK(write(fd.get(), file.data(), file.size()) == static_cast<ssize_t>(file.size()));
  const auto loaded = load_elf(fd.get(), "kernel", memory.view, fuzz::kLowest);
  for (Gpa gpa = 0; gpa < fuzz::kLowest; ++gpa) FUZZ_CHECK(*memory.view.load<uint8_t>(gpa) == 0);
  if (!loaded) return 0;
  FUZZ_CHECK(loaded->entry || loaded->pvh_entry);
  for (const auto& entry : {loaded->entry, loaded->pvh_entry}) {
    if (!entry) continue;
    FUZZ_CHECK(memory.view.at(*entry, 1) != nullptr && *entry >= fuzz::kLowest);
    FUZZ_CHECK(*entry < loaded->end);
  }
  return 0;
}

// A bzImage of any header: loading it writes guest memory at or above the lowest address and
// nothing else, and an entry point that is accepted lies in memory.
#include "vmm/load/bz_image.h"

#include <sys/mman.h>
#include <unistd.h>

#include "devices/fd.h"
#include "tests/fuzz/virtio_guest.h"

namespace thimble::fuzz {
namespace {

constexpr Gpa kLowest = 0x2000;
constexpr size_t kHeaderOffset = 0x1f1;

// A header that a kernel could have, with some of its numbers from the input.
std::vector<uint8_t> make_file(Input& input) {
  setup_header header{};
  header.boot_flag = 0xaa55;
  header.header = 0x53726448;
  header.jump = static_cast<uint16_t>((input.coin() ? 0x6a : input.take<uint8_t>()) << 8 | 0xeb);
  header.version = input.below(8) == 0 ? input.take<uint16_t>() : 0x20f;
  header.loadflags = input.below(8) == 0 ? input.take<uint8_t>() : uint8_t{LOADED_HIGH};
  header.xloadflags = input.below(8) == 0 ? input.take<uint16_t>() : uint16_t{XLF_KERNEL_64};
  header.setup_sects = static_cast<uint8_t>(input.below(3));
  header.syssize = input.coin() ? static_cast<uint32_t>(input.below(256)) : input.take<uint32_t>();
  header.kernel_alignment = input.below(4) == 0 ? input.take<uint32_t>() : 0x1000;
  header.relocatable_kernel = input.coin() ? 1 : 0;
  header.pref_address = Memory::address(input);
  header.init_size = static_cast<uint32_t>(Memory::length(input));
  std::vector<uint8_t> file(kHeaderOffset + sizeof(header));
  std::memcpy(file.data() + kHeaderOffset, &header, sizeof(header));
  file.resize(input.below(8192), 0x90);
  return file;
}

}  // namespace
}  // namespace thimble::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace thimble;
  fuzz::Input input(data, size);
  const fuzz::Memory memory;
  std::vector<uint8_t> file;
  if (input.below(8) != 0) {
    file = fuzz::make_file(input);
  } else {
    const auto raw = input.all();
    file.assign(raw.begin(), raw.end());
  }
  const Fd fd(memfd_create("kernel", MFD_CLOEXEC));
  FUZZ_CHECK(write(fd.get(), file.data(), file.size()) == static_cast<ssize_t>(file.size()));
  const auto loaded = load_bz_image(fd.get(), "kernel", memory.view, fuzz::kLowest);
  for (Gpa gpa = 0; gpa < fuzz::kLowest; ++gpa) FUZZ_CHECK(*memory.view.load<uint8_t>(gpa) == 0);
  if (!loaded) return 0;
  FUZZ_CHECK(memory.view.at(loaded->entry, 1) != nullptr && loaded->entry >= fuzz::kLowest);
  FUZZ_CHECK(loaded->entry < loaded->end);
  return 0;
}

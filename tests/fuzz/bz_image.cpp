// A bzImage of any bytes: what is loaded lies in memory at or above the lowest address, with the
// room that the kernel asks for to unpack itself.
#include "vmm/load/bz_image.h"

#include <sys/mman.h>
#include <unistd.h>

#include "devices/fd.h"
#include "tests/fuzz/virtio_guest.h"

namespace thimble::fuzz {
namespace {

constexpr Gpa kLowest = 0x2000;

// A header that is right but for what the input changes, and a little behind it.
std::vector<uint8_t> make_file(Input& input) {
  std::vector<uint8_t> file(0x1f1 + sizeof(setup_header));
  setup_header header{};
  header.boot_flag = 0xaa55;
  header.header = 0x53726448;
  header.jump = static_cast<uint16_t>(0xeb | (input.take<uint8_t>() << 8));
  header.version = 0x020f;
  header.loadflags = LOADED_HIGH;
  header.xloadflags = XLF_KERNEL_64;
  header.kernel_alignment =
      input.below(8) == 0 ? input.take<uint32_t>() : 0x1000U << input.below(8);
  header.relocatable_kernel = static_cast<uint8_t>(input.below(2));
  header.setup_sects = static_cast<uint8_t>(input.below(4));
  header.syssize = input.below(8) == 0 ? input.take<uint32_t>() : input.below(128);
  header.init_size = Memory::length(input);
  header.pref_address = Memory::address(input);
  const uint32_t changes = input.below(8);
  auto* raw = reinterpret_cast<uint8_t*>(&header);
  for (uint32_t i = 0; i < changes; ++i) {
    const size_t at = input.take<uint8_t>() % sizeof(header);
    if (input.below(4) == 0) raw[at] = input.take<uint8_t>();
  }
  std::memcpy(file.data() + 0x1f1, &header, sizeof(header));
  const auto rest = input.all();
  file.insert(file.end(), rest.begin(), rest.end());
  file.resize(file.size() + 2048, 0xcc);
  return file;
}

}  // namespace
}  // namespace thimble::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace thimble;
  fuzz::Input input(data, size);
  const fuzz::Memory memory;
  std::vector<uint8_t> file;
  if (input.below(4) != 0) {
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
  FUZZ_CHECK(loaded->entry >= fuzz::kLowest && loaded->entry < loaded->end);
  FUZZ_CHECK(memory.view.at(loaded->entry, loaded->end - loaded->entry) != nullptr);
  return 0;
}

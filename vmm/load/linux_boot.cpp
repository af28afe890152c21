// See linux_boot.h.
#include "vmm/load/linux_boot.h"

#include <asm/bootparam.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "devices/fd.h"
#include "devices/text.h"
#include "vmm/load/elf.h"
#include "vmm/load/read_file.h"
#include "vmm/memory_map.h"

namespace thimble {

namespace {

constexpr uint32_t kE820Ram = 1;
constexpr uint16_t kBootFlag = 0xaa55;
constexpr uint32_t kHeaderMagic = 0x53726448;  // "HdrS"
constexpr uint8_t kLoaderUndefined = 0xff;
constexpr uint16_t kBootProtocol = 0x020f;
// Linux takes its initrd below 2 GiB (initrd_addr_max of every 64-bit kernel).
constexpr Gpa kInitrdLimit = 0x80000000;
constexpr uint64_t kPage = 4096;

struct Initrd {
  Gpa start = 0;
  uint64_t size = 0;
};

// Not blocking, so that a FIFO is refused instead of waited for. A descriptor that is `given` is
// duplicated instead.
Result<Fd> open_file(const char* what, const std::string& path, int given) {
  Fd fd(given >= 0 ? ::fcntl(given, F_DUPFD_CLOEXEC, 0)
                   : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return fail_errno(text("open %s %s", what, path.c_str()));
  struct stat info{};
  if (fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return fail(text("%s %s: not a regular file", what, path.c_str()));
  }
  return fd;
}

// At the top of the memory below the limit, where it is out of the kernel's way.
Result<Initrd> load_initrd(const GuestMemory& memory, const BootFiles& files, Gpa lowest) {
  const std::string& path = files.initrd;
  auto fd = open_file("initrd", path, files.initrd_file);
  if (!fd) return std::unexpected(fd.error());
  struct stat info{};
  if (fstat(fd->get(), &info) != 0) return fail_errno(text("initrd %s", path.c_str()));
  const auto size = static_cast<uint64_t>(info.st_size);
  const Gpa top = std::min(memory.ranges()[0].size, kInitrdLimit);
  if (size == 0 || size > top || ((top - size) & ~(kPage - 1)) < lowest) {
    return fail(text("initrd %s: %lu KiB do not fit into guest memory beside the kernel",
                     path.c_str(), size >> 10));
  }
  const Gpa start = (top - size) & ~(kPage - 1);
  if (!read_at(fd->get(), 0, std::span(memory.at(start, size), size))) {
    return fail_errno(text("read initrd %s", path.c_str()));
  }
  return Initrd{.start = start, .size = size};
}

void add_ram(boot_params& params, Gpa start, Gpa end) {
  params.e820_table[params.e820_entries++] = {.addr = start, .size = end - start, .type = kE820Ram};
}

void describe_memory(boot_params& params, const GuestMemory& memory) {
  // The page with the MP table stays out of the map, so that the kernel keeps its hands off it.
  add_ram(params, 0, map::kMpTable);
  add_ram(params, map::kHighMemory, memory.ranges()[0].size);
  for (const MemoryRange& range : memory.ranges().subspan(1)) {
    add_ram(params, range.base, range.base + range.size);
  }
}

Result<void> write_command_line(const GuestMemory& memory, const std::string& line) {
  if (line.size() >= map::kCommandLineMax || line.find('\0') != std::string::npos) {
    return fail(text("kernel command line: %zu bytes, at most %lu fit", line.size(),
                     map::kCommandLineMax - 1));
  }
  std::memcpy(memory.at(map::kCommandLine, line.size() + 1), line.c_str(), line.size() + 1);
  return {};
}

}  // namespace

Result<Gpa> load_linux(const GuestMemory& memory, const BootFiles& files,
                       const std::string& command_line) {
  auto kernel = open_file("kernel", files.kernel, files.kernel_file);
  if (!kernel) return std::unexpected(kernel.error());
  auto elf = load_elf(kernel->get(), files.kernel.c_str(), memory, map::kHighMemory);
  if (!elf) return std::unexpected(elf.error());

  boot_params params{};
  params.hdr.boot_flag = kBootFlag;
  params.hdr.header = kHeaderMagic;
  params.hdr.version = kBootProtocol;
  params.hdr.type_of_loader = kLoaderUndefined;
  params.hdr.loadflags = LOADED_HIGH;
  params.hdr.cmd_line_ptr = static_cast<uint32_t>(map::kCommandLine);
  params.hdr.cmdline_size = static_cast<uint32_t>(command_line.size());
  describe_memory(params, memory);
  if (!files.initrd.empty() || files.initrd_file >= 0) {
    auto initrd = load_initrd(memory, files, elf->end);
    if (!initrd) return std::unexpected(initrd.error());
    params.hdr.ramdisk_image = static_cast<uint32_t>(initrd->start);
    params.hdr.ramdisk_size = static_cast<uint32_t>(initrd->size);
  }
  if (auto done = write_command_line(memory, command_line); !done) {
    return std::unexpected(done.error());
  }
  if (!memory.store(map::kZeroPage, params)) return fail("zero page: outside guest memory");
  return elf->entry;
}

}  // namespace thimble

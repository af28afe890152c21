// See linux_boot.h.
#include "vmm/load/linux_boot.h"

#include <asm/bootparam.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "devices/fd.h"
#include "devices/text.h"
#include "vmm/load/pvh.h"
#include "vmm/load/read_file.h"
#include "vmm/memory_map.h"

namespace thimble {

namespace {

constexpr uint32_t kE820Ram = 1;
constexpr uint32_t kE820Reserved = 2;
constexpr uint16_t kBootFlag = 0xaa55;
constexpr uint32_t kHeaderMagic = 0x53726448;  // "HdrS"
constexpr uint8_t kLoaderUndefined = 0xff;
constexpr uint16_t kBootProtocol = 0x020f;
// Linux takes its initrd below 2 GiB (initrd_addr_max of every 64-bit kernel).
constexpr Gpa kInitrdLimit = 0x80000000;
constexpr uint64_t kPage = 4096;
constexpr uint64_t kLinuxCommandLine = 2047;  // COMMAND_LINE_SIZE of x86 is 2048

// At the top of the memory below the limit, where it is out of the kernel's way.
Result<Initrd> load_initrd(const GuestMemory& memory, const ForeignFile& file,
                           const LoadedKernel& kernel) {
  const std::string& path = file.path;
  auto fd = open_regular("initrd", file);
  if (!fd) return std::unexpected(fd.error());
  struct stat info{};
  if (fstat(fd->get(), &info) != 0) return fail_errno(text("initrd %s", path.c_str()));
  const auto size = static_cast<uint64_t>(info.st_size);
  Gpa top = std::min(memory.ranges()[0].size, kInitrdLimit);
  if (kernel.header) top = std::min<Gpa>(top, Gpa{kernel.header->initrd_addr_max} + 1);
  if (size == 0 || size > top || ((top - size) & ~(kPage - 1)) < kernel.end) {
    return fail(text("initrd %s: %lu KiB do not fit into guest memory beside the kernel",
                     path.c_str(), size >> 10));
  }
  const Gpa start = (top - size) & ~(kPage - 1);
  if (!read_at(fd->get(), 0, std::span(memory.at(start, size), size))) {
    return fail_errno(text("read initrd %s", path.c_str()));
  }
  return Initrd{.start = start, .size = size};
}

using MemoryMap = std::vector<boot_e820_entry>;

MemoryMap describe_memory(const GuestMemory& memory, bool acpi) {
  MemoryMap out;
  const auto add = [&out](Gpa start, Gpa end, uint32_t type) {
    out.push_back({.addr = start, .size = end - start, .type = type});
  };
  // The page with the MP table stays out of the map, so that the kernel keeps its hands off it.
  add(0, map::kMpTable, kE820Ram);
  if (acpi) add(map::kAcpiTables, map::kHighMemory, kE820Reserved);
  add(map::kHighMemory, memory.ranges()[0].size, kE820Ram);
  for (const MemoryRange& range : memory.ranges().subspan(1)) {
    add(range.base, range.base + range.size, kE820Ram);
  }
  return out;
}

// `kernel_limit` is what the kernel says that it takes; 0: it does not say. A longer one would be
// cut by the kernel, wherever that is.
Result<void> write_command_line(const GuestMemory& memory, const std::string& line,
                                uint64_t kernel_limit) {
  const uint64_t said = kernel_limit != 0 ? kernel_limit : kLinuxCommandLine;
  const uint64_t limit = std::min(said, map::kCommandLineMax - 1);
  if (line.size() > limit) {
    return fail(
        text("kernel command line: %zu bytes with what describes the devices, the kernel "
             "takes %lu: shorten it",
             line.size(), limit));
  }
  if (line.find('\0') != std::string::npos) return fail("kernel command line: it has a zero byte");
  std::memcpy(memory.at(map::kCommandLine, line.size() + 1), line.c_str(), line.size() + 1);
  return {};
}

// The header of a vmlinux is not in its file: this is what a loader of the newest protocol says.
setup_header plain_header() {
  setup_header header{};
  header.boot_flag = kBootFlag;
  header.header = kHeaderMagic;
  header.version = kBootProtocol;
  header.loadflags = LOADED_HIGH;
  return header;
}

Result<void> write_zero_page(const GuestMemory& memory, const LoadedKernel& kernel,
                             const BootInfo& info, Initrd initrd, const MemoryMap& memory_map) {
  boot_params params{};
  params.hdr = kernel.header ? *kernel.header : plain_header();
  params.hdr.type_of_loader = kLoaderUndefined;
  params.hdr.cmd_line_ptr = static_cast<uint32_t>(map::kCommandLine);
  params.hdr.cmdline_size = static_cast<uint32_t>(info.command_line.size());
  params.hdr.ramdisk_image = static_cast<uint32_t>(initrd.start);
  params.hdr.ramdisk_size = static_cast<uint32_t>(initrd.size);
  params.hdr.setup_data = 0;
  params.acpi_rsdp_addr = info.rsdp;
  for (const boot_e820_entry& entry : memory_map) {
    params.e820_table[params.e820_entries++] = entry;
  }
  if (!memory.store(map::kZeroPage, params)) return fail("zero page: outside guest memory");
  return {};
}

}  // namespace

Result<void> write_boot_info(const GuestMemory& memory, const LoadedKernel& kernel,
                             const BootInfo& info) {
  Initrd initrd;
  if (info.initrd.named()) {
    auto loaded = load_initrd(memory, info.initrd, kernel);
    if (!loaded) return std::unexpected(loaded.error());
    initrd = *loaded;
  }
  const uint64_t kernel_limit = kernel.header ? kernel.header->cmdline_size : 0;
  auto line = write_command_line(memory, info.command_line, kernel_limit);
  if (!line) return line;
  const MemoryMap memory_map = describe_memory(memory, info.rsdp != 0);
  if (kernel.way == KernelEntry::kPvh) {
    return write_pvh_start_info(memory, initrd, memory_map, info.rsdp);
  }
  return write_zero_page(memory, kernel, info, initrd, memory_map);
}

}  // namespace thimble

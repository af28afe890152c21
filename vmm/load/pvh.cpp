// See pvh.h. All in one page: start info, module list, memory map.
#include "vmm/load/pvh.h"

#include <cstddef>

#include "vmm/memory_map.h"

namespace thimble {

namespace {

constexpr uint32_t kMagic = 0x336ec578;  // "xEn3" with the high bit of the E set
constexpr uint32_t kVersion = 1;         // has the memory map
constexpr size_t kMaxMapEntries = 32;

struct StartInfo {
  uint32_t magic = kMagic;
  uint32_t version = kVersion;
  uint32_t flags = 0;
  uint32_t modules = 0;
  uint64_t module_list = 0;
  uint64_t command_line = 0;
  uint64_t rsdp = 0;
  uint64_t memory_map = 0;
  uint32_t memory_map_entries = 0;
  uint32_t reserved = 0;
};
static_assert(sizeof(StartInfo) == 56);

struct Module {
  uint64_t start = 0;
  uint64_t size = 0;
  uint64_t command_line = 0;
  uint64_t reserved = 0;
};

struct MapEntry {
  uint64_t start = 0;
  uint64_t size = 0;
  uint32_t type = 0;  // as in E820
  uint32_t reserved = 0;
};
static_assert(sizeof(MapEntry) == 24);

struct StartPage {
  StartInfo info;
  Module module;
  MapEntry map[kMaxMapEntries];
};
static_assert(sizeof(StartPage) <= 0x1000);

}  // namespace

Result<void> write_pvh_start_info(const GuestMemory& memory, Initrd initrd,
                                  std::span<const boot_e820_entry> memory_map, Gpa rsdp) {
  if (memory_map.size() > kMaxMapEntries) return fail("PVH: the memory map has too many entries");
  StartPage page{};
  page.info.command_line = map::kCommandLine;
  page.info.rsdp = rsdp;
  page.info.memory_map = map::kPvhStartInfo + offsetof(StartPage, map);
  page.info.memory_map_entries = static_cast<uint32_t>(memory_map.size());
  if (initrd.size != 0) {
    page.info.modules = 1;
    page.info.module_list = map::kPvhStartInfo + offsetof(StartPage, module);
    page.module = {.start = initrd.start, .size = initrd.size};
  }
  for (size_t i = 0; i < memory_map.size(); ++i) {
    page.map[i] = {
        .start = memory_map[i].addr, .size = memory_map[i].size, .type = memory_map[i].type};
  }
  if (!memory.store(map::kPvhStartInfo, page)) return fail("PVH start info: outside guest memory");
  return {};
}

}  // namespace thimble

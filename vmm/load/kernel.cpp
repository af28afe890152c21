// See kernel.h.
#include "vmm/load/kernel.h"

#include <cstring>

#include "devices/text.h"
#include "vmm/load/bz_image.h"
#include "vmm/load/elf.h"
#include "vmm/memory_map.h"

namespace thimble {

namespace {

// The build salt of our own kernel (tools/kernel-config), which is built without ACPI. Only this
// spares a start the search below.
constexpr const char* kOwnKernel = "thimble";

// The name that Linux gives the root of its ACPI device tree; a kernel without ACPI does not have
// it.
constexpr char kAcpiRoot[] = "LNXSYSTM";

bool knows_acpi(const GuestMemory& memory, const LoadedElf& elf) {
  if (elf.build_salt == kOwnKernel) return false;
  const uint64_t size = elf.end - map::kHighMemory;
  const uint8_t* image = memory.at(map::kHighMemory, size);
  return image != nullptr && memmem(image, size, kAcpiRoot, sizeof(kAcpiRoot) - 1) != nullptr;
}

Result<LoadedKernel> load_bz(int fd, const char* name, const GuestMemory& memory,
                             KernelEntry wish) {
  if (wish == KernelEntry::kPvh) {
    return fail(text("kernel %s: a bzImage has no PVH entry: give its uncompressed vmlinux", name));
  }
  const auto image = load_bz_image(fd, name, memory, map::kHighMemory);
  if (!image) return std::unexpected(image.error());
  return LoadedKernel{.way = KernelEntry::kLinux64,
                      .entry = image->entry,
                      .end = image->end,
                      .wants_acpi = true,
                      .header = image->header};
}

KernelEntry choose_way(const LoadedElf& elf, KernelEntry wish) {
  if (wish != KernelEntry::kAuto) return wish;
  const bool linux64 = elf.entry && (elf.linux_notes || !elf.pvh_entry);
  return linux64 ? KernelEntry::kLinux64 : KernelEntry::kPvh;
}

}  // namespace

Result<LoadedKernel> load_kernel(const GuestMemory& memory, const ForeignFile& named,
                                 KernelEntry wish) {
  const auto file = open_regular("kernel", named);
  if (!file) return std::unexpected(file.error());
  const char* name = named.path.c_str();
  if (is_bz_image(file->get())) return load_bz(file->get(), name, memory, wish);
  const auto elf = load_elf(file->get(), name, memory, map::kHighMemory);
  if (!elf) return std::unexpected(elf.error());

  LoadedKernel out;
  out.way = choose_way(*elf, wish);
  out.end = elf->end;
  const auto& entry = out.way == KernelEntry::kPvh ? elf->pvh_entry : elf->entry;
  if (!entry) {
    return fail(text("kernel %s: it has no %s entry", name,
                     out.way == KernelEntry::kPvh ? "PVH" : "64-bit"));
  }
  out.entry = *entry;
  out.wants_acpi = out.way == KernelEntry::kPvh || knows_acpi(memory, *elf);
  return out;
}

}  // namespace thimble

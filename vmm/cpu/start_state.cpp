// See start_state.h.
#include "vmm/cpu/start_state.h"

#include <array>
#include <cstdint>

#include "vmm/flexible.h"
#include "vmm/kvm.h"
#include "vmm/memory_map.h"

namespace thimble {

namespace {

// Segment descriptors as the boot protocol wants them: __BOOT_CS is 0x10, __BOOT_DS is 0x18.
constexpr uint16_t kCodeSelector = 0x10;
constexpr uint16_t kDataSelector = 0x18;
constexpr std::array<uint64_t, 4> kGdtEntries = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff};

constexpr uint64_t kPresentWritable = 0x3;
constexpr uint64_t kLargePage = 0x80;
constexpr uint64_t kLargePageSize = 2ULL << 20;
constexpr unsigned kGigabytes = 4;
constexpr uint64_t kPage = 4096;

constexpr uint64_t kCr0 = 0x80050033;     // PG, AM, WP, NE, ET, MP, PE
constexpr uint64_t kCr0Protected = 0x11;  // ET, PE
constexpr uint64_t kCr4Pae = 0x20;
constexpr uint64_t kEferLongMode = 0x500;  // LME, LMA

constexpr uint32_t kXsaveLeaf = 0xd;
constexpr uint64_t kOptInFeatures = 3ULL << 17;  // AMX tiles: the host must ask for them first

constexpr uint32_t kMsrMiscEnable = 0x1a0;
constexpr uint64_t kFastStrings = 1;
constexpr uint32_t kMsrMtrrDefault = 0x2ff;
constexpr uint64_t kMtrrWriteBack = (1U << 11) | 6;

kvm_segment segment(uint16_t selector, uint8_t type, bool code) {
  kvm_segment out{};
  out.limit = 0xffffffff;
  out.selector = selector;
  out.type = type;
  out.present = 1;
  out.s = 1;
  out.g = 1;
  out.l = code ? 1 : 0;
  out.db = code ? 0 : 1;
  return out;
}

}  // namespace

Result<void> write_start_tables(const GuestMemory& memory) {
  if (!memory.store(map::kGdt, kGdtEntries)) return fail("segment table: outside guest memory");
  uint8_t* tables = memory.at(map::kPageTables, (2 + kGigabytes) * kPage);
  if (tables == nullptr) return fail("page tables: outside guest memory");
  auto* level4 = reinterpret_cast<uint64_t*>(tables);
  auto* level3 = reinterpret_cast<uint64_t*>(tables + kPage);
  auto* level2 = reinterpret_cast<uint64_t*>(tables + 2 * kPage);
  level4[0] = (map::kPageTables + kPage) | kPresentWritable;
  for (uint64_t i = 0; i < kGigabytes; ++i) {
    level3[i] = (map::kPageTables + (2 + i) * kPage) | kPresentWritable;
  }
  for (uint64_t i = 0; i < 512UL * kGigabytes; ++i) {
    level2[i] = (i * kLargePageSize) | kPresentWritable | kLargePage;
  }
  return {};
}

Result<void> set_start_registers(int fd, Gpa entry) {
  kvm_sregs sregs{};
  if (auto got = kvm_ioctl(fd, KVM_GET_SREGS, "KVM_GET_SREGS", &sregs); !got) {
    return std::unexpected(got.error());
  }
  sregs.cs = segment(kCodeSelector, 0xb, true);
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment(kDataSelector, 0x3, false);
  sregs.gdt = {.base = map::kGdt, .limit = sizeof(kGdtEntries) - 1, .padding = {}};
  sregs.idt = {.base = 0, .limit = 0, .padding = {}};
  sregs.cr0 = kCr0;
  sregs.cr3 = map::kPageTables;
  sregs.cr4 = kCr4Pae;
  sregs.efer = kEferLongMode;
  if (auto set = kvm_ioctl(fd, KVM_SET_SREGS, "KVM_SET_SREGS", &sregs); !set) {
    return std::unexpected(set.error());
  }
  kvm_regs regs{};
  regs.rip = entry;
  regs.rsi = map::kZeroPage;
  regs.rsp = regs.rbp = map::kBootStack;
  regs.rflags = 0x2;
  if (auto set = kvm_ioctl(fd, KVM_SET_REGS, "KVM_SET_REGS", &regs); !set) {
    return std::unexpected(set.error());
  }
  return {};
}

Result<void> set_pvh_registers(int fd, Gpa entry) {
  kvm_sregs sregs{};
  if (auto got = kvm_ioctl(fd, KVM_GET_SREGS, "KVM_GET_SREGS", &sregs); !got) {
    return std::unexpected(got.error());
  }
  sregs.cs = segment(kCodeSelector, 0xb, false);
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment(kDataSelector, 0x3, false);
  sregs.tr.base = 0;
  sregs.tr.limit = 0x67;
  sregs.tr.type = 0xb;  // a busy 32-bit task state segment
  sregs.tr.present = 1;
  sregs.cr0 = kCr0Protected;
  sregs.cr3 = 0;
  sregs.cr4 = 0;
  sregs.efer = 0;
  if (auto set = kvm_ioctl(fd, KVM_SET_SREGS, "KVM_SET_SREGS", &sregs); !set) {
    return std::unexpected(set.error());
  }
  kvm_regs regs{};
  regs.rip = entry;
  regs.rbx = map::kPvhStartInfo;
  regs.rflags = 0x2;
  if (auto set = kvm_ioctl(fd, KVM_SET_REGS, "KVM_SET_REGS", &regs); !set) {
    return std::unexpected(set.error());
  }
  return {};
}

Result<void> set_start_xcr0(int fd, CpuidTable& cpuid) {
  uint64_t offered = 0;
  for (uint32_t i = 0; i < cpuid.header()->nent; ++i) {
    const kvm_cpuid_entry2& entry = cpuid.entries()[i];
    if (entry.function == kXsaveLeaf && entry.index == 0) {
      offered = entry.eax | (static_cast<uint64_t>(entry.edx) << 32);
    }
  }
  if (offered == 0) return {};  // no XSAVE
  kvm_xcrs xcrs{};
  xcrs.nr_xcrs = 1;
  xcrs.xcrs[0].xcr = 0;
  xcrs.xcrs[0].value = offered & ~kOptInFeatures;
  auto set = kvm_ioctl(fd, KVM_SET_XCRS, "KVM_SET_XCRS", &xcrs);
  if (!set) return std::unexpected(set.error());
  return {};
}

Result<void> set_start_msrs(int fd) {
  Flexible<kvm_msrs, kvm_msr_entry> msrs(2);
  msrs.entries()[0] = {.index = kMsrMiscEnable, .reserved = 0, .data = kFastStrings};
  msrs.entries()[1] = {.index = kMsrMtrrDefault, .reserved = 0, .data = kMtrrWriteBack};
  msrs.header()->nmsrs = 2;
  auto set = kvm_ioctl(fd, KVM_SET_MSRS, "KVM_SET_MSRS", msrs.header());
  if (!set) return std::unexpected(set.error());
  if (*set != 2) return fail("KVM: KVM_SET_MSRS refused an MSR that firmware would set");
  return {};
}

}  // namespace thimble

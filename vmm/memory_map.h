// Where everything lies in the guest's physical address space, and the host memory behind it.
//
//   0x0000_0000  real-mode area (unused)           0x0000_7000  zero page, or PVH start info
//   0x0000_6000  global descriptor table           0x0002_0000  kernel command line, 64 KiB
//   0x0000_9000  page tables for the first 4 GiB, six pages
//   0x0009_fc00  MP table, in the last kilobyte of base memory where kernels look for it
//   0x000a_0000  .. 0x000f_ffff  not memory for the guest (video and firmware area); in it
//   0x000a_0000  the page walker's program and list, 128 KiB, before the guest runs (page_walker.h)
//   0x000e_0000  ACPI tables; in the last page VM generation ID and, at its end, the reset vector
//   0x0010_0000  memory; the kernel's own addresses are in its ELF headers
//   0xd000_0000  hole: virtio-mmio devices, one page each
//   0xfec0_0000  IOAPIC         0xfee0_0000  local APICs
//   0xfffb_c000  four pages that KVM on Intel wants for itself (identity map and TSS)
//   0x1_0000_0000  memory that did not fit below the hole
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "devices/guest_memory.h"
#include "devices/result.h"
#include "vmm/reclaim/stash.h"

// Since Linux 5.14; older headers lack them.
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

namespace thimble::map {

constexpr Gpa kGdt = 0x6000;
constexpr Gpa kZeroPage = 0x7000;
constexpr Gpa kPvhStartInfo = kZeroPage;  // a kernel is given one or the other
constexpr Gpa kBootStack = 0x8ff0;
constexpr Gpa kPageTables = 0x9000;
constexpr Gpa kCommandLine = 0x20000;
constexpr uint64_t kCommandLineMax = 0x10000;
constexpr Gpa kMpTable = 0x9fc00;
constexpr Gpa kBaseMemoryEnd = 0xa0000;
constexpr Gpa kWalker = 0xa0000;
constexpr Gpa kWalkerEnd = 0xc0000;
constexpr Gpa kAcpiTables = 0xe0000;
constexpr Gpa kVmGenId = 0xff000;
constexpr Gpa kResetVector = 0xffff0;
constexpr Gpa kHighMemory = 0x100000;
constexpr Gpa kHoleStart = 0xd0000000;
constexpr Gpa kHoleEnd = 0x100000000;
constexpr Gpa kVirtioMmio = 0xd0000000;
constexpr Gpa kKvmIdentityMap = 0xfffbc000;
constexpr Gpa kKvmTss = 0xfffbd000;

// IOAPIC pins. The first five belong to PC hardware by custom.
constexpr unsigned kEventPin = 3;  // the ACPI event device: a new VM generation ID
constexpr unsigned kSerialPin = 4;
constexpr unsigned kFirstVirtioPin = 5;
constexpr unsigned kMaxVirtioDevices = 24 - kFirstVirtioPin;

// The place of the virtio device in slot `slot`: its page of registers, and its pin.
constexpr uint64_t kVirtioPage = 0x1000;
constexpr Gpa virtio_base(size_t slot) { return kVirtioMmio + slot * kVirtioPage; }
constexpr unsigned virtio_pin(size_t slot) { return kFirstVirtioPin + static_cast<unsigned>(slot); }

}  // namespace thimble::map

namespace thimble {

// The memory of one machine, mapped into this process: private, aligned to 2 MiB so that huge pages
// fit; anonymous, or a snapshot's file. Unmapped when it goes.
class HostMemory {
 public:
  // `bytes` is a multiple of 4 KiB, at least 16 MiB. Refuses more than the host could ever give.
  static Result<HostMemory> map(uint64_t bytes);
  // The same with a private (copy-on-write) view of `file`, which is as long as the memory.
  static Result<HostMemory> view(int file, uint64_t bytes);

  HostMemory(HostMemory&& other) noexcept;
  HostMemory& operator=(HostMemory&& other) = delete;
  HostMemory(const HostMemory&) = delete;
  ~HostMemory();

  // All of it, in guest order: the range above the hole follows the one below.
  [[nodiscard]] std::span<const uint8_t> bytes() const { return {start_, bytes_}; }

  // Replaces all content by such a view. The addresses stay, so a memory slot over them stays as
  // it is.
  Result<void> show_file(int file);

  // madvise(2) for each page whose bit is set, by number in guest order. What the host cannot do it
  // leaves.
  void populate(std::span<const uint64_t> pages, int advice);
  // A view shows its file again from here to there, whatever was written. Whole pages.
  void forget(uint64_t offset, uint64_t bytes);
  // What pages had before they were forgotten.
  void put_back(const Stash& stash) { stash.put_back({start_, bytes_}); }

  // One range, or two when the memory reaches above the hole.
  [[nodiscard]] const std::vector<MemoryRange>& ranges() const { return ranges_; }

 private:
  HostMemory(uint8_t* start, uint64_t bytes);
  static Result<HostMemory> map_aligned(int file, int flags, uint64_t bytes);
  uint8_t* start_;
  uint64_t bytes_;
  std::vector<MemoryRange> ranges_;
};

}  // namespace thimble

// Fills KVM's page tables for a guest before it runs. KVM enters a page when the guest first
// touches it, each by an exit, and no ioctl of Linux before 6.12 does it ahead. But all vCPUs of a
// VM share these tables: here a vCPU of our own, which the guest never hears of, walks over the
// pages in a program of twenty bytes. While it exists the tables stay, whatever registers the
// guest's own vCPUs are given meanwhile (KVM drops tables that no vCPU uses).
//
// The program and the list of pages lie in memory that no guest is told of (memory_map.h). The walk
// reads; a page that this process has already made its own becomes writable, too.
#pragma once

#include <cstdint>
#include <vector>

#include "devices/fd.h"
#include "devices/guest_memory.h"
#include "devices/result.h"
#include "vmm/kvm.h"

namespace thimble {

struct PageRun {
  uint32_t first;  // address
  uint32_t count;  // pages
};

// How many runs have room.
constexpr size_t kMaxPageRuns = 8192;

// The vCPU, to be kept as long as the VM. Runs beyond kMaxPageRuns are left out. The walker's own
// memory has other content afterwards.
Result<Fd> walk_pages(const Kvm& kvm, int vm, const GuestMemory& memory,
                      const std::vector<PageRun>& runs);

}  // namespace thimble

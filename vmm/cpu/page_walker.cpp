// See page_walker.h.
#include "vmm/cpu/page_walker.h"

#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "devices/text.h"
#include "vmm/cpu/start_state.h"
#include "vmm/memory_map.h"

namespace thimble {

namespace {

// Far from those of the guest's vCPUs; also its local APIC's number, which no guest asks for.
constexpr unsigned long kWalkerId = 254;

constexpr uint8_t kDonePort = 0x80;
constexpr Gpa kProgram = map::kWalker;
constexpr Gpa kList = map::kWalker + 0x1000;
static_assert(kList + (kMaxPageRuns + 1) * sizeof(PageRun) <= map::kWalkerEnd);

// 32-bit protected mode without paging, ESI on the list. A run of no pages ends it.
constexpr std::array<uint8_t, 20> kCode = {
    0xad,                                     // next:  lodsd
    0x93,                                     //        xchg eax, ebx     the address
    0xad,                                     //        lodsd
    0x91,                                     //        xchg eax, ecx     the number of pages
    0xe3, 0x0c,                               //        jecxz done
    0x8a, 0x03,                               // touch: mov al, [ebx]
    0x81, 0xc3,      0x00, 0x10, 0x00, 0x00,  //        add ebx, 4096
    0xe2, 0xf6,                               //        loop touch
    0xeb, 0xee,                               //        jmp next
    0xe6, kDonePort,                          // done:  out port, al
};

struct Unmap {
  size_t bytes;
  void operator()(kvm_run* area) const { ::munmap(area, bytes); }
};
using RunArea = std::unique_ptr<kvm_run, Unmap>;

Result<RunArea> map_run_area(const Kvm& kvm, int vcpu) {
  auto bytes = kvm.vcpu_mmap_size();
  if (!bytes) return std::unexpected(bytes.error());
  void* area = ::mmap(nullptr, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
  if (area == MAP_FAILED) return fail_errno("map the walker's run area");
  return RunArea(static_cast<kvm_run*>(area), Unmap{*bytes});
}

Result<void> write_program(const GuestMemory& memory, const std::vector<PageRun>& runs) {
  const size_t count = std::min(runs.size(), kMaxPageRuns);
  uint8_t* list = memory.at(kList, (count + 1) * sizeof(PageRun));
  if (list == nullptr || !memory.store(kProgram, kCode)) return fail("no room for a walker");
  std::memcpy(list, runs.data(), count * sizeof(PageRun));
  std::memset(list + count * sizeof(PageRun), 0, sizeof(PageRun));
  return {};
}

Result<void> set_registers(int vcpu) {
  if (auto set = set_pvh_registers(vcpu, kProgram); !set) return set;
  kvm_regs regs{};
  regs.rip = kProgram;
  regs.rsi = kList;
  regs.rflags = 2;
  auto set = kvm_ioctl(vcpu, KVM_SET_REGS, "KVM_SET_REGS (walker)", &regs);
  if (!set) return std::unexpected(set.error());
  // It is not the vCPU that starts a machine, and would wait to be woken.
  kvm_mp_state runnable{.mp_state = KVM_MP_STATE_RUNNABLE};
  set = kvm_ioctl(vcpu, KVM_SET_MP_STATE, "KVM_SET_MP_STATE (walker)", &runnable);
  if (!set) return std::unexpected(set.error());
  return {};
}

Result<void> run_to_end(int vcpu, const kvm_run& area) {
  while (::ioctl(vcpu, KVM_RUN, 0) != 0) {
    if (errno != EINTR && errno != EAGAIN) return fail_errno("run the walker");
  }
  if (area.exit_reason == KVM_EXIT_IO && area.io.port == kDonePort) return {};
  return fail(text("the walker ended with exit reason %u", area.exit_reason));
}

}  // namespace

Result<Fd> walk_pages(const Kvm& kvm, int vm, const GuestMemory& memory,
                      const std::vector<PageRun>& runs) {
  if (auto done = write_program(memory, runs); !done) return std::unexpected(done.error());
  auto created = kvm_ioctl(vm, KVM_CREATE_VCPU, "KVM_CREATE_VCPU (walker)", kWalkerId);
  if (!created) return std::unexpected(created.error());
  Fd vcpu(*created);
  auto area = map_run_area(kvm, vcpu.get());
  if (!area) return std::unexpected(area.error());
  if (auto done = set_registers(vcpu.get()); !done) return std::unexpected(done.error());
  if (auto done = run_to_end(vcpu.get(), **area); !done) return std::unexpected(done.error());
  // Nobody's interrupt or start-up message wakes a vCPU that nobody runs.
  kvm_mp_state stopped{.mp_state = KVM_MP_STATE_UNINITIALIZED};
  auto set = kvm_ioctl(vcpu.get(), KVM_SET_MP_STATE, "KVM_SET_MP_STATE (walker)", &stopped);
  if (!set) return std::unexpected(set.error());
  return vcpu;
}

}  // namespace thimble

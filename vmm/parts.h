// The parts of a machine, in the order in which they are made; they go in the opposite order.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "devices/bus.h"
#include "devices/guest_memory.h"
#include "devices/ioapic.h"
#include "devices/power.h"
#include "devices/serial.h"
#include "devices/virtio/blk.h"
#include "devices/virtio/rng.h"
#include "devices/vmgenid.h"
#include "devices/vsock/vsock.h"
#include "thimble/machine.h"
#include "vmm/cpu/cpuid.h"
#include "vmm/epoll_loop.h"
#include "vmm/irq.h"
#include "vmm/kvm.h"
#include "vmm/memory_map.h"
#include "vmm/pause.h"
#include "vmm/reclaim/sleeping_vcpu.h"
#include "vmm/reclaim/stash.h"
#include "vmm/snapshot/contents.h"
#include "vmm/snapshot/working_set.h"
#include "vmm/start_signal.h"
#include "vmm/trace/tracer.h"
#include "vmm/unix_listener.h"
#include "vmm/vcpu.h"
#include "vmm/virtio_slots.h"

namespace thimble {

struct Machine::Parts {
  Parts(MachineOptions options_in, Kvm kvm_in, Fd vm_in, HostMemory host_memory_in,
        std::unique_ptr<EpollLoop> loop_in);

  MachineOptions options;
  Kvm kvm;
  HostMemory host_memory;  // outlives the VM that it is mapped into
  GuestMemory memory;
  Fd template_memory;  // file of the snapshot that it is a clone of, from when it is mapped
  Fd vm;
  Fd walker;  // a vCPU that keeps KVM's page tables (page_walker.h), or none
  std::unique_ptr<EpollLoop> loop;
  std::unique_ptr<Tracer> tracer;  // none: nobody looks
  std::vector<Fd> statistics;      // KVM's files of VM and vCPUs, when traced
  IrqLines irqs;
  Bus ports;
  Bus mmio;
  IoApic ioapic;
  std::unique_ptr<Serial> serial;
  std::vector<std::unique_ptr<PowerPort>> power_ports;
  std::vector<std::unique_ptr<Blk>> disks;
  std::optional<UnixListener> vsock_path;
  std::unique_ptr<VsockDevice> vsock;
  std::unique_ptr<Rng> rng;
  VirtioSlots slots;
  std::unique_ptr<VmGenId> vmgenid;  // only beside ACPI tables
  KernelEntry kernel_way = KernelEntry::kLinux64;
  Gpa kernel_entry = 0;
  std::vector<std::unique_ptr<Vcpu>> vcpus;
  std::vector<CpuidTable> cpuids;  // what each vCPU was given
  uint32_t tsc_khz = 0;            // of the host's time stamp counter, as vCPUs get it

  StartSignal first_starts;  // of the first vCPU's thread,
  StartSignal others_start;  // and of the others'
  PauseGate gate;
  std::mutex operation;  // one pause(), resume(), save() or reclaim() at a time
  std::atomic<bool> reclaiming = false;
  std::optional<WorkingSet> before_reclaim;  // what was touched until the last one began
  std::atomic<std::thread::id> loop_thread{};
  std::mutex end_lock;
  std::optional<End> end;  // the first reason; later ones are consequences

  // Assembly, in this order. A machine that boots ends with load_guest() and set_start_state(), one
  // that takes over a snapshot with claim().
  // `known`: the snapshot that will be claimed, where that is decided already.
  enum class When { kLater, kAtOnce };  // of the claim
  static Result<std::unique_ptr<Parts>> assemble(MachineOptions options,
                                                 const Snapshot* known = nullptr,
                                                 When claim = When::kLater);
  Result<void> set_up_memory();
  Result<void> set_up_irqchip();
  Result<void> set_up_ports();
  Result<void> set_up_disks();
  Result<void> set_up_vsock();
  Result<void> set_up_entropy();
  Result<void> set_up_vcpus(const Snapshot* known);
  Result<void> set_up_trace();
  [[nodiscard]] Result<std::vector<CpuidTable>> cpuids_of_this_host() const;
  [[nodiscard]] Result<uint32_t> tsc_of_this_host() const;
  Result<void> load_guest();
  Result<Gpa> set_up_acpi();
  Result<void> set_start_state();

  // snapshot/machine_save.cpp and machine_restore.cpp.
  Result<void> save(int state_file, int memory_file);
  // reclaim/machine_reclaim.cpp.
  Result<ReclaimReport> reclaim(int until);
  // Of a machine that is paused.
  [[nodiscard]] Result<VcpuSleep> all_sleep() const;
  [[nodiscard]] Result<Stash> put_away(const WorkingSet& set);
  // False: none came.
  [[nodiscard]] bool wait_for_work(std::chrono::nanoseconds max, int until) const;
  // What the clone has touched and changed, before reclaims too.
  [[nodiscard]] Result<WorkingSet> touched_so_far() const;

  // machine_look.cpp.
  [[nodiscard]] Result<uint8_t*> memory_at(uint64_t address, size_t size) const;
  // The descriptor of a vCPU that is out of the guest.
  Result<int> still_vcpu(unsigned vcpu);

  // For whoever holds `operation`.
  [[nodiscard]] std::unique_lock<std::mutex> begin_operation();
  Result<void> pause();
  Result<void> resume();

  // Whether this machine, on this host, can take over the snapshot.
  [[nodiscard]] Result<const VcpuAbi*> judge(const Snapshot& snapshot) const;
  Result<void> claim(const Snapshot& snapshot);
  // Its memory file is mapped now.
  Result<void> keep_template(const Snapshot& snapshot);
  // Follows options.working_set.
  void prefault_working_set(When claim);
  Result<void> claim_vcpus(const SnapshotState& state, const VcpuAbi& abi);
  Result<void> claim_devices(const SnapshotState& state);
  Result<void> claim_vmgenid(const SnapshotState& state, IrqLine& line);
  [[nodiscard]] MachineShape shape() const;
  // Says so when a clone ended because its memory file was cut: the guest sees just a page that is
  // gone, and what comes of that depends on the page.
  void judge_end();
  // Tells a guest's CPU that it was stopped, before it goes on.
  static void announce_pause(const Vcpu& vcpu);

  void prepare_thread(ThreadKind kind);
  // Ends the machine: vCPUs leave the guest, the loop returns. From any thread.
  void finish(End reason);
  void notice(const std::string& line) const;
};

}  // namespace thimble

// What a state file holds, taken apart: the sections that the machine itself understands as
// structs, those of devices as bytes for the device to read. Nothing in here needs a VM.
//
//   "host"     where it was made            "clock"      the guest's clock (kvmclock)
//   "machine"  what it consists of          "vcpu.0" …   one per vCPU
//   "memory"   length and digest            "ioapic", "serial", "virtio.0" …   devices
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "devices/fd.h"
#include "thimble/snapshot.h"
#include "vmm/cpu/cpuid.h"
#include "vmm/snapshot/format.h"
#include "vmm/snapshot/memory_file.h"
#include "vmm/snapshot/vcpu_state.h"

namespace thimble {

// KVM's ABI as far as the saved structures depend on it.
struct HostFacts {
  std::vector<uint8_t> architecture;  // "x86_64"
  std::vector<uint8_t> kernel;        // release, for a person
  uint32_t kvm_api = 0;
  uint32_t structures = 0;  // CRC-32C over the sizes of KVM's structures
  uint64_t created = 0;     // seconds since 1970
  void describe(StateVisitor& visitor);

  static HostFacts of_this_host();
  // Whether structures that were saved there mean the same here.
  [[nodiscard]] Result<void> readable_here() const;
};

// What a machine must consist of to take this state.
struct MachineShape {
  static constexpr size_t kMaxDevices = 32;
  uint64_t memory_bytes = 0;
  uint32_t vcpus = 0;
  std::vector<uint8_t> devices;  // VirtioId of each slot, in order
  void describe(StateVisitor& visitor);
};

struct ClockState {
  kvm_clock_data clock{};
  void describe(StateVisitor& visitor) { visitor.field("clock", clock); }
};

struct SnapshotState {
  HostFacts host;
  MachineShape shape;
  MemoryFacts memory;
  ClockState clock;
  std::vector<VcpuState> vcpus;
  std::map<std::string, std::vector<uint8_t>> devices;  // by section name

  // What each vCPU is told by CPUID.
  [[nodiscard]] std::vector<CpuidTable> cpuids() const;
  [[nodiscard]] std::vector<uint8_t> write();
  // All of a state file that can be judged without a VM. `file` may be anything.
  static Result<SnapshotState> read(std::span<const uint8_t> file, SnapshotFacts* facts = nullptr);
};

struct Snapshot::Contents {
  SnapshotState state;
  SnapshotFacts facts;
  Fd memory;

  // Whether this host can run it and what its KVM has, asked once: hosts do not change.
  [[nodiscard]] Result<const VcpuAbi*> judge_host(const Kvm& kvm) const;

 private:
  mutable std::mutex judged_lock_;
  mutable std::optional<Result<VcpuAbi>> judged_;
};

}  // namespace thimble

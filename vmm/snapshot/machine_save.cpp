// Saving a machine that is paused; see thimble/machine.h. Its vCPUs are out of the guest with their
// last exits finished, its devices have nothing under way, its loop is held: nothing changes while
// this reads. Interrupts have all arrived at the local APICs (vmm/irq.h).
#include "vmm/parts.h"
#include "vmm/snapshot/contents.h"

#include <unistd.h>

namespace thimble {

namespace {

Result<void> write_state_file(int fd, std::span<const uint8_t> bytes) {
  size_t at = 0;
  while (at < bytes.size()) {
    const ssize_t written =
        ::pwrite(fd, bytes.data() + at, bytes.size() - at, static_cast<off_t>(at));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return fail_errno("write the snapshot's state file");
    at += static_cast<size_t>(written);
  }
  return {};
}

}  // namespace

MachineShape Machine::Parts::shape() const {
  return {.memory_bytes = options.memory_bytes, .vcpus = options.vcpus, .devices = slots.shape()};
}

Result<void> Machine::Parts::save(int state_file, int memory_file) {
  auto abi = VcpuAbi::of(kvm);
  if (!abi) return std::unexpected(abi.error());
  SnapshotState state;
  state.host = HostFacts::of_this_host();
  state.shape = shape();
  // Devices first: should one still have something to finish, its interrupt and its bytes are in
  // what is read after it.
  for (size_t slot = 0; slot < state.shape.devices.size(); ++slot) {
    state.devices["virtio." + std::to_string(slot)] = slots.save(slot);
  }
  SerialState serial_state = serial->save();
  state.devices["serial"] = save_state(serial_state);
  if (vmgenid) {
    VmGenIdState vmgenid_state = vmgenid->save();
    state.devices["vmgenid"] = save_state(vmgenid_state);
  }
  IoApicState ioapic_state = ioapic.save();
  state.devices["ioapic"] = save_state(ioapic_state);
  for (size_t i = 0; i < vcpus.size(); ++i) {
    auto vcpu = capture_vcpu(vcpus[i]->fd(), *abi, {cpuids[i].entries(), cpuids[i].header()->nent});
    if (!vcpu) return fail_in("save vCPU " + std::to_string(i), vcpu);
    state.vcpus.push_back(std::move(*vcpu));
  }
  // The clock after the CPUs, so that it is not behind what they have seen.
  auto clock = kvm_ioctl(vm.get(), KVM_GET_CLOCK, "KVM_GET_CLOCK", &state.clock.clock);
  if (!clock) return std::unexpected(clock.error());
  auto written = write_memory_file(memory_file, host_memory.bytes());
  if (!written) return std::unexpected(written.error());
  state.memory = *written;
  return write_state_file(state_file, state.write());
}

}  // namespace thimble

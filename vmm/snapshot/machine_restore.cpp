// A prepared machine takes over a snapshot; see thimble/machine.h. The order:
//
//   memory     before MSRs, some of which point into it
//   vCPUs      local APICs are there before anything raises an interrupt
//   IOAPIC     says where each pin's interrupts go
//   devices    raise again what is pending
//   clock      last of KVM's state, so that the guest loses no time to the steps before
//   queues     visited by the loop when it runs: a notification may have been on its way
#include "devices/text.h"
#include "vmm/parts.h"
#include "vmm/snapshot/contents.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace thimble {

namespace {

Result<void> compare_shapes(const MachineShape& saved, const MachineShape& here) {
  if (saved.memory_bytes != here.memory_bytes) {
    return fail(text("the snapshot has %llu MiB of memory, this machine %llu",
                     static_cast<unsigned long long>(saved.memory_bytes >> 20),
                     static_cast<unsigned long long>(here.memory_bytes >> 20)));
  }
  if (saved.vcpus != here.vcpus) {
    return fail(text("the snapshot has %u vCPUs, this machine %u", saved.vcpus, here.vcpus));
  }
  if (saved.devices == here.devices) return {};
  const auto count = [](const MachineShape& shape, VirtioId id) {
    return std::ranges::count(shape.devices, static_cast<uint8_t>(id));
  };
  return fail(
      text("the snapshot has other devices than this machine: disks %td and %td, vsock %td "
           "and %td, entropy %td and %td: give it the same, in the same order",
           count(saved, VirtioId::kBlock), count(here, VirtioId::kBlock),
           count(saved, VirtioId::kVsock), count(here, VirtioId::kVsock),
           count(saved, VirtioId::kEntropy), count(here, VirtioId::kEntropy)));
}

bool same_cpuid(const VcpuState& saved, CpuidTable& set) {
  const auto entries = saved.cpuid_entries();
  return entries.size() == set.header()->nent &&
         std::memcmp(entries.data(), set.entries(), entries.size_bytes()) == 0;
}

template <class State, class Device>
Result<void> restore_device(const SnapshotState& state, const std::string& name, Device& device) {
  auto loaded = load_state<State>(state.devices.at(name));
  if (!loaded) return fail_in("section '" + name + "'", loaded);
  if constexpr (std::is_void_v<decltype(device.restore(*loaded))>) {
    device.restore(*loaded);
  } else if (auto done = device.restore(*loaded); !done) {
    return fail_in("section '" + name + "'", done);
  }
  return {};
}

}  // namespace

Result<void> Machine::claim(const Snapshot& snapshot) {
  const std::scoped_lock guard(parts_->operation);
  if (parts_->gate.state() != PauseGate::State::kIdle) {
    return fail(ErrorKind::kWrongState, "restore a snapshot: the machine has run already");
  }
  auto done = parts_->claim(snapshot);
  if (!done) return fail_as(ErrorKind::kMismatch, fail_in("restore a snapshot", done).error());
  return {};
}

Result<std::unique_ptr<Machine>> Machine::restore(MachineOptions options,
                                                  const Snapshot& snapshot) {
  options.memory_bytes = snapshot.facts().memory_bytes;
  options.vcpus = snapshot.facts().vcpus;
  auto parts = Parts::assemble(std::move(options), &snapshot, Parts::When::kAtOnce);
  if (!parts) return std::unexpected(parts.error());
  std::unique_ptr<Machine> machine(new Machine(std::move(*parts)));
  if (auto done = machine->claim(snapshot); !done) return std::unexpected(done.error());
  return machine;
}

Result<const VcpuAbi*> Machine::Parts::judge(const Snapshot& snapshot) const {
  const Snapshot::Contents& contents = snapshot.contents();
  const SnapshotState& state = contents.state;
  const auto abi = contents.judge_host(kvm);
  if (!abi) return abi;
  if (auto done = compare_shapes(state.shape, shape()); !done) return std::unexpected(done.error());
  auto sized = check_memory_size(contents.memory.get(), state.memory);
  if (!sized) return std::unexpected(sized.error());
  return abi;
}

Result<void> Machine::Parts::claim(const Snapshot& snapshot) {
  const Snapshot::Contents& contents = snapshot.contents();
  const SnapshotState& state = contents.state;
  const auto abi = judge(snapshot);
  if (!abi) return std::unexpected(abi.error());
  first_starts.rouse();
  if (!template_memory) {
    if (auto done = host_memory.show_file(contents.memory.get()); !done) return done;
    if (auto done = keep_template(snapshot); !done) return done;
  }
  if (auto done = claim_vcpus(state, **abi); !done) return done;
  if (auto done = claim_devices(state); !done) return done;
  // The guest's clock goes on where it stood: a jump of days would set off all its timers at once.
  // The right time of day is told to the guest by whoever cloned it.
  kvm_clock_data clock{};
  clock.clock = state.clock.clock.clock;
  auto set = kvm_ioctl(vm.get(), KVM_SET_CLOCK, "KVM_SET_CLOCK", &clock);
  if (!set) return std::unexpected(set.error());
  for (size_t i = 0; i < vcpus.size(); ++i) {
    if (state.vcpus[i].uses_clock()) announce_pause(*vcpus[i]);
  }
  loop->post([this] { slots.kick(); });
  return {};
}

Result<void> Machine::Parts::keep_template(const Snapshot& snapshot) {
  template_memory.reset(fcntl(snapshot.contents().memory.get(), F_DUPFD_CLOEXEC, 3));
  if (!template_memory) return fail_errno("keep the snapshot's memory file");
  return {};
}

void Machine::Parts::judge_end() {
  const std::scoped_lock guard(end_lock);
  if (!end || !template_memory) return;
  const bool failed = end->kind == End::Kind::kTripleFault ||
                      end->kind == End::Kind::kInternalError || end->kind == End::Kind::kHostError;
  if (!failed ||
      lseek(template_memory.get(), 0, SEEK_END) == static_cast<off_t>(options.memory_bytes)) {
    return;
  }
  end = {End::Kind::kHostError, "the snapshot's memory file was cut while the VM ran"};
}

Result<void> Machine::Parts::claim_vcpus(const SnapshotState& state, const VcpuAbi& abi) {
  for (size_t i = 0; i < vcpus.size(); ++i) {
    const VcpuState& saved = state.vcpus[i];
    FreshVcpu fresh{.fd = vcpus[i]->fd(),
                    .boots = i == 0,
                    .has_cpuid = same_cpuid(saved, cpuids[i]),
                    .tsc_khz = tsc_khz};
    if (i > 0 && saved.shares_tsc(state.vcpus.front())) {
      fresh.tsc_offset = tsc_offset_of(vcpus.front()->fd());
    }
    auto done = restore_vcpu(fresh, abi, saved);
    if (!done) return fail_in("vCPU " + std::to_string(i), done);
  }
  cpuids = state.cpuids();
  // KVM keeps one clock for the VM only while the time stamp counters of all vCPUs agree.
  const auto offset = walker ? tsc_offset_of(vcpus.front()->fd()) : std::nullopt;
  return offset ? set_tsc_offset(walker.get(), *offset) : Result<void>{};
}

Result<void> Machine::Parts::claim_devices(const SnapshotState& state) {
  const bool has_vmgenid = state.devices.contains("vmgenid");
  // Pins without a line keep no route: the line has to be there before the IOAPIC.
  auto event_line = has_vmgenid ? irqs.line(map::kEventPin) : Result<IrqLine*>(nullptr);
  if (!event_line) return std::unexpected(event_line.error());
  if (auto done = restore_device<IoApicState>(state, "ioapic", ioapic); !done) return done;
  if (auto done = restore_device<SerialState>(state, "serial", *serial); !done) return done;
  for (size_t slot = 0; slot < state.shape.devices.size(); ++slot) {
    const std::string name = "virtio." + std::to_string(slot);
    auto done = slots.restore(slot, state.devices.at(name));
    if (!done) return fail_in("section '" + name + "'", done);
  }
  return has_vmgenid ? claim_vmgenid(state, **event_line) : Result<void>{};
}

// What was one machine is two now, and the guest is to know before it computes anything.
Result<void> Machine::Parts::claim_vmgenid(const SnapshotState& state, IrqLine& line) {
  auto made = VmGenId::create(memory, map::kVmGenId, line);
  if (!made) return std::unexpected(made.error());
  vmgenid = std::move(*made);
  if (auto done = restore_device<VmGenIdState>(state, "vmgenid", *vmgenid); !done) return done;
  return vmgenid->change();
}

// Otherwise the guest's watchdog would take the time that it was away for a CPU that hangs. KVM
// refuses (EINVAL) for a guest that does not use its clock, which has no watchdog to fool then.
void Machine::Parts::announce_pause(const Vcpu& vcpu) { ioctl(vcpu.fd(), KVM_KVMCLOCK_CTRL, 0); }

}  // namespace thimble

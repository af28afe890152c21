// What a traced machine sets up: the names of its devices, and KVM's counters.
#include "devices/text.h"
#include "vmm/parts.h"
#include "vmm/trace/kvm_stats.h"
#include "vmm/trace/registers.h"

namespace thimble {

// The slots are taken in this order: disks, vsock, entropy.
Result<void> Machine::Parts::set_up_trace() {
  if (!tracer) return {};
  using Space = Tracer::Space;
  tracer->name_range(Space::kPorts, Serial::kPort, Serial::kSize, "serial", serial_register);
  tracer->name_pin(map::kSerialPin, "serial");
  tracer->name_range(Space::kPorts, PowerPort::kSleepControlPort, 2, "power", sleep_register);
  tracer->name_range(Space::kPorts, PowerPort::kResetControlPort, 1, "reset control", nullptr);
  tracer->name_range(Space::kPorts, PowerPort::kKeyboardControllerPort, 1, "keyboard controller",
                     nullptr);
  tracer->name_range(Space::kMmio, IoApic::kBase, IoApic::kSize, "ioapic", ioapic_register);
  tracer->name_pin(map::kEventPin, "vmgenid");
  size_t slot = 0;
  const auto name_slot = [&](const std::string& name) {
    tracer->name_range(Space::kMmio, map::virtio_base(slot), map::kVirtioPage, name,
                       virtio_mmio_register);
    tracer->name_pin(map::virtio_pin(slot++), name);
  };
  for (size_t disk = 0; disk < disks.size(); ++disk) {
    name_slot(text("virtio-blk vd%c", static_cast<char>('a' + disk)));
  }
  if (vsock) name_slot("virtio-vsock");
  if (rng) name_slot("virtio-rng");

  // A host without these files is traced all the same.
  if (Fd file = open_kvm_stats(vm.get()); file) statistics.push_back(std::move(file));
  for (const std::unique_ptr<Vcpu>& vcpu : vcpus) {
    if (Fd file = open_kvm_stats(vcpu->fd()); file) statistics.push_back(std::move(file));
  }
  return {};
}

std::vector<KvmStatistic> Machine::kvm_statistics() {
  std::vector<KvmStatistic> out;
  for (const Fd& file : parts_->statistics) {
    for (KvmStatistic& statistic : read_kvm_stats(file.get())) out.push_back(std::move(statistic));
  }
  return out;
}

}  // namespace thimble

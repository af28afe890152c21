// How a machine is put together. Memory slots come before the irqchip and nothing changes them
// afterwards: a change once an irqchip exists waits for a grace period of the host's kernel.
#include <sys/ioctl.h>

#include <utility>

#include "devices/text.h"
#include "vmm/acpi/tables.h"
#include "vmm/cpu/cpuid.h"
#include "vmm/cpu/start_state.h"
#include "vmm/load/linux_boot.h"
#include "vmm/load/mp_table.h"
#include "vmm/load/reset_vector.h"
#include "vmm/parts.h"

namespace thimble {

namespace {
constexpr unsigned kMaxVcpus = 8;
}

Machine::Parts::Parts(MachineOptions options_in, Kvm kvm_in, Fd vm_in, HostMemory host_memory_in,
                      std::unique_ptr<EpollLoop> loop_in)
    : options(std::move(options_in)),
      kvm(std::move(kvm_in)),
      host_memory(std::move(host_memory_in)),
      memory(host_memory.ranges()),
      vm(std::move(vm_in)),
      loop(std::move(loop_in)),
      tracer(options.on_trace ? std::make_unique<Tracer>(options.on_trace) : nullptr),
      irqs(vm.get(), tracer.get()),
      ioapic(irqs),
      slots({.vm = vm.get(),
             .memory = memory,
             .mmio = mmio,
             .irqs = irqs,
             .loop = *loop,
             .tracer = tracer.get()}) {}

// All but what is in memory and registers: a machine that could boot, or take over a snapshot.
Result<std::unique_ptr<Machine::Parts>> Machine::Parts::assemble(MachineOptions options,
                                                                 const Snapshot* known,
                                                                 When claim) {
  if (options.vcpus == 0 || options.vcpus > kMaxVcpus) {
    return fail(ErrorKind::kInvalid,
                text("%u vCPUs: a machine has 1 to %u", options.vcpus, kMaxVcpus));
  }
  auto kvm = options.kvm ? Kvm::adopt(std::move(options.kvm)) : Kvm::open();
  if (!kvm) return std::unexpected(kvm.error());
  // Mapped before KVM has an eye on the mapping.
  const bool show = known != nullptr && (claim == When::kAtOnce || options.working_set);
  auto host_memory = show ? HostMemory::view(known->contents().memory.get(), options.memory_bytes)
                          : HostMemory::map(options.memory_bytes);
  if (!host_memory) return std::unexpected(host_memory.error());
  auto loop = EpollLoop::create();
  if (!loop) return std::unexpected(loop.error());
  auto vm = kvm->create_vm();
  if (!vm) return std::unexpected(vm.error());
  auto parts = std::make_unique<Parts>(std::move(options), std::move(*kvm), std::move(*vm),
                                       std::move(*host_memory), std::move(*loop));
  using Step = Result<void> (Parts::*)();
  constexpr Step kSteps[] = {
      &Parts::set_up_memory, &Parts::set_up_irqchip, &Parts::set_up_ports,
      &Parts::set_up_disks,  &Parts::set_up_vsock,   &Parts::set_up_entropy,
  };
  if (show) {
    if (auto done = parts->keep_template(*known); !done) return std::unexpected(done.error());
  }
  for (const Step step : kSteps) {
    if (auto done = (*parts.*step)(); !done) return std::unexpected(done.error());
  }
  if (auto done = parts->set_up_vcpus(known); !done) return std::unexpected(done.error());
  if (show) parts->prefault_working_set(claim);
  if (auto done = parts->set_up_trace(); !done) return std::unexpected(done.error());
  return parts;
}

Result<std::unique_ptr<Machine>> Machine::create(MachineOptions options) {
  auto parts = Parts::assemble(std::move(options));
  if (!parts) return std::unexpected(parts.error());
  if (auto done = (*parts)->load_guest(); !done) return std::unexpected(done.error());
  if (auto done = (*parts)->set_start_state(); !done) return std::unexpected(done.error());
  return std::unique_ptr<Machine>(new Machine(std::move(*parts)));
}

Result<std::unique_ptr<Machine>> Machine::prepare(MachineOptions options,
                                                  const Snapshot* expected) {
  // Each vCPU is told at once what the saved one was told.
  if (expected != nullptr && expected->facts().vcpus != options.vcpus) {
    return fail(ErrorKind::kMismatch,
                text("restore a snapshot: the snapshot has %u vCPUs, this machine %u",
                     expected->facts().vcpus, options.vcpus));
  }
  auto parts = Parts::assemble(std::move(options), expected);
  if (!parts) return std::unexpected(parts.error());
  if (expected != nullptr) {
    auto fits = (*parts)->judge(*expected);
    if (!fits) return fail_as(ErrorKind::kMismatch, fail_in("restore a snapshot", fits).error());
  }
  return std::unique_ptr<Machine>(new Machine(std::move(*parts)));
}

Result<void> Machine::Parts::set_up_memory() {
  uint32_t slot = 0;
  for (const MemoryRange& range : memory.ranges()) {
    kvm_userspace_memory_region region{};
    region.slot = slot++;
    region.guest_phys_addr = range.base;
    region.memory_size = range.size;
    region.userspace_addr = reinterpret_cast<uint64_t>(range.host);
    auto done =
        kvm_ioctl(vm.get(), KVM_SET_USER_MEMORY_REGION, "KVM_SET_USER_MEMORY_REGION", &region);
    if (!done) return std::unexpected(done.error());
  }
  // Intel without "unrestricted guest" needs room for a task state segment and a page table.
  uint64_t identity_map = map::kKvmIdentityMap;
  auto identity =
      kvm_ioctl(vm.get(), KVM_SET_IDENTITY_MAP_ADDR, "KVM_SET_IDENTITY_MAP_ADDR", &identity_map);
  if (!identity) return std::unexpected(identity.error());
  auto tss = kvm_ioctl(vm.get(), KVM_SET_TSS_ADDR, "KVM_SET_TSS_ADDR", map::kKvmTss);
  if (!tss) return std::unexpected(tss.error());
  return {};
}

Result<void> Machine::Parts::set_up_irqchip() {
  kvm_enable_cap cap{};
  cap.cap = KVM_CAP_SPLIT_IRQCHIP;
  cap.args[0] = kIoApicPins;
  auto done = kvm_ioctl(vm.get(), KVM_ENABLE_CAP, "split irqchip (KVM_ENABLE_CAP)", &cap);
  if (!done) return std::unexpected(done.error());
  return mmio.attach(IoApic::kBase, IoApic::kSize, ioapic);
}

Result<void> Machine::Parts::set_up_ports() {
  auto line = irqs.line(map::kSerialPin);
  if (!line) return std::unexpected(line.error());
  serial = std::make_unique<Serial>(*loop, **line, options.on_serial, options.on_typing_room);
  if (auto done = ports.attach(Serial::kPort, Serial::kSize, *serial); !done) return done;

  const auto on_power = [this](PowerEvent event) {
    if (event == PowerEvent::kPowerOff) {
      finish({End::Kind::kPowerOff, "the guest switched itself off"});
    } else {
      finish({End::Kind::kReset, "the guest asked for a reset"});
    }
  };
  using Kind = PowerPort::Kind;
  const std::pair<Kind, uint64_t> kinds[] = {
      {Kind::kKeyboardController, PowerPort::kKeyboardControllerPort},
      {Kind::kResetControl, PowerPort::kResetControlPort},
      {Kind::kSleepControl, PowerPort::kSleepControlPort},
  };
  for (const auto& [kind, port] : kinds) {
    power_ports.push_back(std::make_unique<PowerPort>(kind, on_power));
    const uint64_t size = kind == Kind::kSleepControl ? 2 : 1;
    if (auto done = ports.attach(port, size, *power_ports.back()); !done) return done;
  }
  return {};
}

Result<void> Machine::Parts::set_up_disks() {
  for (Disk& disk : options.disks) {
    const std::string name = disk.name;
    DiskOptions blk_options;
    blk_options.file = std::move(disk.file);
    blk_options.read_only = disk.read_only;
    blk_options.id = name;
    if (options.on_thread) {
      blk_options.on_worker = [hook = options.on_thread] { return hook(ThreadKind::kDiskWorker); };
    }
    auto blk = Blk::create(std::move(blk_options), *loop);
    if (!blk) return fail_as(ErrorKind::kInvalid, blk.error());
    notice("disk " + name + ": " + (*blk)->backend_name());
    disks.push_back(std::move(*blk));
    if (auto done = slots.add(*disks.back()); !done) return done;
  }
  return {};
}

Result<void> Machine::Parts::set_up_vsock() {
  if (!options.vsock) return {};
  const VsockOptions& wanted = *options.vsock;
  if (wanted.guest_cid <= 2)
    return fail(ErrorKind::kInvalid, "vsock: a guest's address is 3 or more");
  vsock = std::make_unique<VsockDevice>(wanted.guest_cid, *loop);
  for (const uint32_t port : options.guest_connect_ports) {
    vsock->listen(port, [this, port] { return options.on_guest_connect(port); });
  }
  if (!wanted.path.empty()) {
    auto listener = UnixListener::bind(wanted.path);
    if (!listener) return std::unexpected(listener.error());
    vsock_path.emplace(std::move(*listener));
    if (auto done = vsock->serve(vsock_path->take()); !done) return done;
    vsock->set_connector([path = wanted.path](uint32_t port) {
      return connect_unix(path + "_" + std::to_string(port));
    });
  }
  if (options.vsock->listener) {
    if (auto done = vsock->serve(std::move(options.vsock->listener)); !done) return done;
  }
  if (wanted.open_host_port) vsock->set_opener(wanted.open_host_port);
  return slots.add(*vsock);
}

Result<void> Machine::Parts::set_up_entropy() {
  if (!options.entropy) return {};
  rng = std::make_unique<Rng>(*loop);
  return slots.add(*rng);
}

Result<std::vector<CpuidTable>> Machine::Parts::cpuids_of_this_host() const {
  auto cpuid = supported_cpuid(kvm);
  if (!cpuid) return std::unexpected(cpuid.error());
  const bool tsc_deadline = kvm.extension(KVM_CAP_TSC_DEADLINE_TIMER) > 0;
  std::vector<CpuidTable> tables;
  for (unsigned i = 0; i < options.vcpus; ++i) {
    adjust_cpuid(*cpuid, i, options.vcpus, tsc_deadline);
    tables.push_back(*cpuid);
  }
  return tables;
}

// Asking KVM for what it supports costs more than most of what a clone needs: a known snapshot has
// its own tables, which were compared with the host's when the first clone was made.
Result<void> Machine::Parts::set_up_vcpus(const Snapshot* known) {
  auto area_size = kvm.vcpu_mmap_size();
  if (!area_size) return std::unexpected(area_size.error());
  if (known != nullptr) {
    auto fits = known->contents().judge_host(kvm);
    if (!fits) return fail_as(ErrorKind::kMismatch, fail_in("restore a snapshot", fits).error());
    cpuids = known->contents().state.cpuids();
  } else {
    auto tables = cpuids_of_this_host();
    if (!tables) return std::unexpected(tables.error());
    cpuids = std::move(*tables);
  }
  for (unsigned i = 0; i < options.vcpus; ++i) {
    auto vcpu =
        Vcpu::create(vm.get(), i, *area_size,
                     {.ports = ports, .mmio = mmio, .ioapic = ioapic, .tracer = tracer.get()});
    if (!vcpu) return std::unexpected(vcpu.error());
    vcpus.push_back(std::move(*vcpu));
    auto set = kvm_ioctl(vcpus.back()->fd(), KVM_SET_CPUID2, "KVM_SET_CPUID2", cpuids[i].header());
    if (!set) return std::unexpected(set.error());
  }
  auto khz = tsc_of_this_host();
  if (!khz) return std::unexpected(khz.error());
  tsc_khz = *khz;
  return {};
}

// The VM knows since Linux 5.19; a vCPU knows too, and takes longer, as with all that is asked of
// it.
Result<uint32_t> Machine::Parts::tsc_of_this_host() const {
  if (const int khz = ioctl(vm.get(), KVM_GET_TSC_KHZ, 0); khz > 0) {
    return static_cast<uint32_t>(khz);
  }
  auto khz = kvm_ioctl(vcpus.front()->fd(), KVM_GET_TSC_KHZ, "KVM_GET_TSC_KHZ", 0);
  if (!khz) return std::unexpected(khz.error());
  return static_cast<uint32_t>(*khz);
}

Result<void> Machine::Parts::load_guest() {
  auto kernel = load_kernel(memory, {.path = options.kernel, .given = options.kernel_file.get()},
                            options.entry);
  if (!kernel) return fail_as(ErrorKind::kCorrupt, kernel.error());
  kernel_way = kernel->way;
  kernel_entry = kernel->entry;
  BootInfo info{.initrd = {.path = options.initrd, .given = options.initrd_file.get()},
                .command_line = options.command_line};
  // One way or the other: a kernel that knows both would find each device twice.
  if (options.acpi == Acpi::kOn || (options.acpi == Acpi::kAuto && kernel->wants_acpi)) {
    auto rsdp = set_up_acpi();
    if (!rsdp) return std::unexpected(rsdp.error());
    info.rsdp = *rsdp;
  } else {
    // Before the user's words: what follows a "--" is for init.
    info.command_line = slots.command_line() + info.command_line;
    if (auto done = write_mp_table(memory, options.vcpus); !done) return done;
  }
  if (auto done = write_boot_info(memory, *kernel, info); !done) {
    return fail_as(ErrorKind::kInvalid, done.error());
  }
  options.kernel_file.reset();
  options.initrd_file.reset();
  if (kernel_way == KernelEntry::kPvh) return {};
  return write_start_tables(memory);
}

Result<Gpa> Machine::Parts::set_up_acpi() {
  auto line = irqs.line(map::kEventPin);
  if (!line) return std::unexpected(line.error());
  auto made = VmGenId::create(memory, map::kVmGenId, **line);
  if (!made) return std::unexpected(made.error());
  vmgenid = std::move(*made);
  if (auto done = write_reset_vector(memory); !done) return std::unexpected(done.error());
  return write_acpi_tables(memory, {.vcpus = options.vcpus, .virtio_slots = slots.count()});
}

Result<void> Machine::Parts::set_start_state() {
  for (unsigned i = 0; i < options.vcpus; ++i) {
    if (auto done = set_start_xcr0(vcpus[i]->fd(), cpuids[i]); !done) return done;
    if (auto done = set_start_msrs(vcpus[i]->fd()); !done) return done;
  }
  // The others wait for the first one's start-up message, as on hardware.
  const int first = vcpus.front()->fd();
  if (kernel_way == KernelEntry::kPvh) return set_pvh_registers(first, kernel_entry);
  return set_start_registers(first, kernel_entry);
}

}  // namespace thimble

// See contents.h.
#include "vmm/snapshot/contents.h"

#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>

#include "devices/text.h"
#include "devices/virtio/device.h"
#include "vmm/cpu/cpuid.h"
#include "vmm/snapshot/checksum.h"
#include "vmm/snapshot/cpu_features.h"

namespace thimble {

namespace {

constexpr uint32_t kSectionVersion = 1;
constexpr size_t kMaxText = 256;
constexpr uint32_t kMaxVcpus = 8;
constexpr uint64_t kPage = 4096;
constexpr std::string_view kVcpuPrefix = "vcpu.";
constexpr std::string_view kVirtioPrefix = "virtio.";

std::vector<uint8_t> bytes_of(std::string_view letters) { return {letters.begin(), letters.end()}; }

std::string letters_of(const std::vector<uint8_t>& bytes) {
  std::string letters;
  for (const uint8_t byte : bytes) {
    letters += byte >= ' ' && byte < 0x7f ? static_cast<char>(byte) : '?';
  }
  return letters;
}

uint32_t structure_sizes() {
  const std::array<uint32_t, 10> sizes = {
      sizeof(kvm_regs),         sizeof(kvm_sregs), sizeof(kvm_vcpu_events),
      sizeof(kvm_debugregs),    sizeof(kvm_xcrs),  sizeof(kvm_lapic_state),
      sizeof(kvm_cpuid_entry2), sizeof(kvm_xsave), sizeof(kvm_msr_entry),
      sizeof(kvm_clock_data),
  };
  return crc32c(std::span(reinterpret_cast<const uint8_t*>(sizes.data()), sizeof(sizes)));
}

template <class State>
Section section_of(std::string_view name, State& state) {
  return {.name = std::string(name), .version = kSectionVersion, .payload = save_state(state)};
}

const char* device_name(uint8_t id) {
  switch (static_cast<VirtioId>(id)) {
    case VirtioId::kBlock:
      return "disk";
    case VirtioId::kEntropy:
      return "entropy";
    case VirtioId::kVsock:
      return "vsock";
  }
  return "unknown device";
}

// Takes sections by name; what nobody took is unknown.
class Sections {
 public:
  static Result<Sections> of(std::span<const uint8_t> file) {
    auto list = read_sections(file);
    if (!list) return std::unexpected(list.error());
    Sections sections;
    for (Section& section : *list) {
      if (section.version != kSectionVersion) {
        return fail(ErrorKind::kMismatch,
                    text("section '%s' has version %u; this thimble reads version %u",
                         section.name.c_str(), section.version, kSectionVersion));
      }
      std::string name = section.name;
      if (!sections.by_name_.emplace(name, std::move(section.payload)).second) {
        return fail("section '" + name + "' is there twice");
      }
    }
    return sections;
  }

  Result<std::vector<uint8_t>> take(const std::string& name) {
    auto node = by_name_.extract(name);
    if (node.empty()) return fail("section '" + name + "' is missing");
    return std::move(node.mapped());
  }

  template <class State>
  Result<void> load(const std::string& name, State& into) {
    auto payload = take(name);
    if (!payload) return std::unexpected(payload.error());
    auto state = load_state<State>(*payload);
    if (!state) return fail_in("section '" + name + "'", state);
    into = std::move(*state);
    return {};
  }

  [[nodiscard]] Result<void> finish() const {
    if (by_name_.empty()) return {};
    return fail("section '" + by_name_.begin()->first + "' is unknown: made by a newer thimble?");
  }

 private:
  std::map<std::string, std::vector<uint8_t>> by_name_;
};

Result<void> judge_shape(const MachineShape& shape, const MemoryFacts& memory) {
  if (shape.vcpus == 0 || shape.vcpus > kMaxVcpus) {
    return fail(text("it has %u vCPUs: a machine has 1 to %u", shape.vcpus, kMaxVcpus));
  }
  if (shape.memory_bytes % kPage != 0 || shape.memory_bytes != memory.bytes) {
    return fail("the sizes of its memory do not fit together");
  }
  return {};
}

// What is not about one vCPU or device. The host's part comes first: what follows can be read only
// where it fits.
Result<void> read_machine(Sections& sections, SnapshotState& state) {
  if (auto done = sections.load("host", state.host); !done) return done;
  if (auto done = state.host.readable_here(); !done) return done;
  if (auto done = sections.load("machine", state.shape); !done) return done;
  if (auto done = sections.load("memory", state.memory); !done) return done;
  if (auto done = sections.load("clock", state.clock); !done) return done;
  return judge_shape(state.shape, state.memory);
}

Result<void> read_vcpus(Sections& sections, SnapshotState& state) {
  state.vcpus.resize(state.shape.vcpus);
  for (size_t i = 0; i < state.vcpus.size(); ++i) {
    const std::string name = std::string(kVcpuPrefix) + std::to_string(i);
    if (auto done = sections.load(name, state.vcpus[i]); !done) return done;
    if (auto done = state.vcpus[i].valid(); !done) return fail_in("section '" + name + "'", done);
  }
  return {};
}

Result<void> take_devices(Sections& sections, SnapshotState& state) {
  std::vector<std::string> names = {"ioapic", "serial"};
  for (size_t i = 0; i < state.shape.devices.size(); ++i) {
    names.push_back(std::string(kVirtioPrefix) + std::to_string(i));
  }
  for (const std::string& name : names) {
    auto payload = sections.take(name);
    if (!payload) return std::unexpected(payload.error());
    state.devices.emplace(name, std::move(*payload));
  }
  // Only machines with ACPI tables have one.
  if (auto payload = sections.take("vmgenid")) {
    state.devices.emplace("vmgenid", std::move(*payload));
  }
  return {};
}

void collect_facts(const SnapshotState& state, SnapshotFacts& facts) {
  facts.memory_bytes = state.shape.memory_bytes;
  facts.stored_bytes = state.memory.stored_pages * kPage;
  facts.vcpus = state.shape.vcpus;
  for (const uint8_t id : state.shape.devices) facts.devices.emplace_back(device_name(id));
  facts.created = state.host.created;
  facts.host_kernel = letters_of(state.host.kernel);
  facts.cpu_vendor = cpu_vendor(state.vcpus.front().cpuid_entries());
}

}  // namespace

// ---- sections

void HostFacts::describe(StateVisitor& visitor) {
  visitor.field("architecture", architecture, kMaxText);
  visitor.field("kernel", kernel, kMaxText);
  visitor.field("kvm_api", kvm_api);
  visitor.field("structures", structures);
  visitor.field("created", created);
}

HostFacts HostFacts::of_this_host() {
  utsname name{};
  uname(&name);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return {.architecture = bytes_of(name.machine),
          .kernel = bytes_of(std::string_view(name.release)),
          .kvm_api = KVM_API_VERSION,
          .structures = structure_sizes(),
          .created =
              static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(now).count())};
}

Result<void> HostFacts::readable_here() const {
  const HostFacts here = of_this_host();
  if (architecture != here.architecture) {
    return fail(ErrorKind::kMismatch,
                text("it was made on %s, this host is %s", letters_of(architecture).c_str(),
                     letters_of(here.architecture).c_str()));
  }
  if (kvm_api != here.kvm_api || structures != here.structures) {
    return fail(ErrorKind::kMismatch,
                text("it was made with another KVM ABI (API %u, kernel %s): make it again here",
                     kvm_api, letters_of(kernel).c_str()));
  }
  return {};
}

void MachineShape::describe(StateVisitor& visitor) {
  visitor.field("memory_bytes", memory_bytes);
  visitor.field("vcpus", vcpus);
  visitor.field("devices", devices, kMaxDevices);
}

// ---- the whole file

std::vector<CpuidTable> SnapshotState::cpuids() const {
  std::vector<CpuidTable> tables;
  for (const VcpuState& vcpu : vcpus) {
    const auto entries = vcpu.cpuid_entries();
    CpuidTable table(entries.size());
    table.header()->nent = static_cast<uint32_t>(entries.size());
    std::ranges::copy(entries, table.entries());
    tables.push_back(std::move(table));
  }
  return tables;
}

std::vector<uint8_t> SnapshotState::write() {
  std::vector<Section> sections;
  sections.push_back(section_of("host", host));
  sections.push_back(section_of("machine", shape));
  sections.push_back(section_of("memory", memory));
  sections.push_back(section_of("clock", clock));
  for (size_t i = 0; i < vcpus.size(); ++i) {
    sections.push_back(section_of(std::string(kVcpuPrefix) + std::to_string(i), vcpus[i]));
  }
  for (const auto& [name, payload] : devices) {
    sections.push_back({.name = name, .version = kSectionVersion, .payload = payload});
  }
  return write_sections(sections);
}

Result<SnapshotState> SnapshotState::read(std::span<const uint8_t> file, SnapshotFacts* facts) {
  auto sections = Sections::of(file);
  if (!sections) return std::unexpected(sections.error());
  SnapshotState state;
  if (auto done = read_machine(*sections, state); !done) return std::unexpected(done.error());
  if (auto done = read_vcpus(*sections, state); !done) return std::unexpected(done.error());
  if (auto done = take_devices(*sections, state); !done) return std::unexpected(done.error());
  if (auto done = sections->finish(); !done) return std::unexpected(done.error());
  if (facts != nullptr) collect_facts(state, *facts);
  return state;
}

// ---- the host

Result<const VcpuAbi*> Snapshot::Contents::judge_host(const Kvm& kvm) const {
  const std::scoped_lock guard(judged_lock_);
  if (!judged_) {
    judged_ = VcpuAbi::of(kvm);
    auto host = supported_cpuid(kvm);
    if (!host) judged_ = std::unexpected(host.error());
    if (host && *judged_) {
      const bool deadline = kvm.extension(KVM_CAP_TSC_DEADLINE_TIMER) > 0;
      auto fits = check_cpu_features(state.vcpus.front().cpuid_entries(),
                                     {host->entries(), host->header()->nent}, deadline);
      if (!fits) judged_ = std::unexpected(fits.error());
    }
  }
  if (!*judged_) return std::unexpected(judged_->error());
  return &**judged_;
}

}  // namespace thimble

// The state file of a snapshot, of any bytes: refused with one line, or what comes out fits
// together. Most inputs change an honest file and make its checksums right again, since a checksum
// keeps nobody out.
#include "tests/fuzz/input.h"
#include "vmm/snapshot/contents.h"

namespace thimble::fuzz {
namespace {

std::vector<Section> honest_sections() {
  SnapshotState state;
  state.host = HostFacts::of_this_host();
  state.shape = {.memory_bytes = 16 << 20, .vcpus = 2, .devices = {2, 19, 4}};
  state.memory = {.bytes = 16 << 20, .stored_pages = 3, .digest = {}};
  for (uint32_t i = 0; i < state.shape.vcpus; ++i) {
    VcpuState vcpu;
    vcpu.tsc_khz = 1;
    vcpu.cpuid.resize(4 * sizeof(kvm_cpuid_entry2));
    vcpu.xsave.resize(sizeof(kvm_xsave));
    vcpu.msrs.resize(2 * sizeof(kvm_msr_entry));
    state.vcpus.push_back(std::move(vcpu));
  }
  for (const char* name : {"ioapic", "serial", "virtio.0", "virtio.1", "virtio.2", "vmgenid"}) {
    state.devices[name] = {1, 2, 3};
  }
  const auto sections = read_sections(state.write());
  FUZZ_CHECK(sections);
  return *sections;
}

// Bytes of a section's own encoding are changed, sections go, come twice or are renamed.
std::vector<uint8_t> make_file(Input& input) {
  static const std::vector<Section> kHonest = honest_sections();
  std::vector<Section> sections = kHonest;
  while (!input.empty() && !sections.empty()) {
    Section& section = sections[input.take<uint8_t>() % sections.size()];
    switch (input.below(12)) {
      case 0:
        sections.erase(sections.begin() + (&section - sections.data()));
        break;
      case 1:
        sections.push_back(Section(section));
        break;
      case 2: {
        const auto name = input.bytes(input.below(12));
        section.name.assign(name.begin(), name.end());
        break;
      }
      case 3:
        section.version = input.take<uint8_t>();
        break;
      case 4:
        section.payload.resize(section.payload.size() * input.take<uint8_t>() / 255);
        break;
      case 5: {
        const auto raw = input.bytes(input.take<uint8_t>());
        section.payload.assign(raw.begin(), raw.end());
        break;
      }
      default:
        if (section.payload.empty()) break;
        section.payload[input.take<uint16_t>() % std::min<size_t>(section.payload.size(), 300)] =
            input.take<uint8_t>();
    }
  }
  return write_sections(sections);
}

void check(const SnapshotState& state, const SnapshotFacts& facts) {
  FUZZ_CHECK(state.vcpus.size() == state.shape.vcpus && facts.vcpus == state.shape.vcpus);
  FUZZ_CHECK(state.shape.memory_bytes == state.memory.bytes);
  FUZZ_CHECK(state.shape.devices.size() <= MachineShape::kMaxDevices);
  FUZZ_CHECK(state.devices.contains("ioapic") && state.devices.contains("serial"));
  for (size_t i = 0; i < state.shape.devices.size(); ++i) {
    FUZZ_CHECK(state.devices.contains("virtio." + std::to_string(i)));
  }
  for (const VcpuState& vcpu : state.vcpus) {
    FUZZ_CHECK(vcpu.valid());
    FUZZ_CHECK(!vcpu.cpuid_entries().empty());
  }
}

}  // namespace
}  // namespace thimble::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace thimble;
  fuzz::Input input(data, size);
  const bool honest = input.below(8) != 0;
  const auto raw = honest ? std::span<const uint8_t>() : input.all();
  const auto file = honest ? fuzz::make_file(input) : std::vector<uint8_t>(raw.begin(), raw.end());
  SnapshotFacts facts;
  const auto state = SnapshotState::read(file, &facts);
  if (state) {
    fuzz::check(*state, facts);
  } else {
    FUZZ_CHECK(state.error().message.find('\n') == std::string::npos);
  }
  return 0;
}

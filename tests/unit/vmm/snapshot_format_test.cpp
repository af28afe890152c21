// The files of a snapshot as foreign bytes: whatever is wrong with them is said in one line, and
// nothing comes out.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "devices/fd.h"
#include "vmm/snapshot/checksum.h"
#include "vmm/snapshot/contents.h"
#include "vmm/snapshot/cpu_features.h"
#include "vmm/snapshot/format.h"
#include "vmm/snapshot/memory_file.h"

namespace thimble {
namespace {

// ---- checksums

TEST(SnapshotChecksum, IsCrc32c) {
  const std::string_view check = "123456789";  // the check value of the catalogue of CRCs
  EXPECT_EQ(crc32c(std::span(reinterpret_cast<const uint8_t*>(check.data()), check.size())),
            0xe3069283U);
  EXPECT_EQ(crc32c({}), 0U);
}

TEST(SnapshotChecksum, DigestSeesEveryBitAndPlace) {
  std::vector<uint8_t> block(64, 7);
  Digest plain;
  plain.add(block);
  for (size_t bit = 0; bit < block.size() * 8; ++bit) {
    block[bit / 8] ^= static_cast<uint8_t>(1U << (bit % 8));
    Digest other;
    other.add(block);
    EXPECT_NE(other.value(), plain.value()) << bit;
    block[bit / 8] ^= static_cast<uint8_t>(1U << (bit % 8));
  }
  Digest one;
  one.add(1);
  one.add(2);
  Digest two;
  two.add(2);
  two.add(1);
  EXPECT_NE(one.value(), two.value());
}

// ---- sections

std::vector<Section> some_sections() {
  return {{.name = "one", .version = 1, .payload = {1, 2, 3}},
          {.name = "two", .version = 9, .payload = {}},
          {.name = "three", .version = 1, .payload = std::vector<uint8_t>(100, 5)}};
}

std::string refusal_of(std::span<const uint8_t> file) {
  const auto sections = read_sections(file);
  return sections ? "accepted" : sections.error().message;
}

TEST(SnapshotSections, ComeBackAsTheyWere) {
  const auto read = read_sections(write_sections(some_sections()));
  ASSERT_TRUE(read) << read.error().message;
  ASSERT_EQ(read->size(), 3U);
  EXPECT_EQ((*read)[1].name, "two");
  EXPECT_EQ((*read)[1].version, 9U);
  EXPECT_EQ((*read)[2].payload, some_sections()[2].payload);
}

TEST(SnapshotSections, CutAnywhereAreRefused) {
  const auto file = write_sections(some_sections());
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_NE(refusal_of(std::span(file).first(size)), "accepted") << size;
  }
}

TEST(SnapshotSections, WithAByteMoreAreRefused) {
  auto file = write_sections(some_sections());
  file.push_back(0);
  EXPECT_NE(refusal_of(file).find("cut or altered"), std::string::npos);
}

TEST(SnapshotSections, WithAnyByteAlteredAreRefused) {
  auto file = write_sections(some_sections());
  for (uint8_t& byte : file) {
    for (const uint8_t flip : {0x01, 0x80, 0xff}) {
      byte ^= flip;
      EXPECT_NE(refusal_of(file), "accepted") << &byte - file.data();
      byte ^= flip;
    }
  }
  EXPECT_EQ(refusal_of(file), "accepted");
}

TEST(SnapshotSections, OfAnotherVersionSayWhich) {
  auto file = write_sections(some_sections());
  file[8] = 7;
  EXPECT_NE(refusal_of(file).find("format version 7"), std::string::npos);
}

TEST(SnapshotSections, OfAnotherFileAreNotASnapshot) {
  const std::vector<uint8_t> file(1000, 'x');
  EXPECT_NE(refusal_of(file).find("not a snapshot"), std::string::npos);
}

// What a hostile writer can do, who computes the checksums too.
std::vector<uint8_t> sealed(std::vector<uint8_t> body) {
  body.resize(body.size() - 4);
  const uint32_t checksum = crc32c(body);
  const auto* raw = reinterpret_cast<const uint8_t*>(&checksum);
  body.insert(body.end(), raw, raw + 4);
  return body;
}

TEST(SnapshotSections, ThatClaimToBeHugeAreRefused) {
  const auto file = write_sections(some_sections());
  constexpr size_t kFirstLength = 24 + 1 + 3 + 4;
  for (const uint64_t length : {uint64_t{4}, uint64_t{1} << 32, ~uint64_t{0}}) {
    auto corrupt = file;
    std::memcpy(corrupt.data() + kFirstLength, &length, sizeof(length));
    EXPECT_NE(refusal_of(sealed(corrupt)), "accepted") << length;
  }
  auto corrupt = file;
  const uint32_t count = 0xffffffff;
  std::memcpy(corrupt.data() + 12, &count, sizeof(count));
  EXPECT_NE(refusal_of(sealed(corrupt)).find("sections"), std::string::npos);
}

// ---- the whole state file

SnapshotState some_state() {
  SnapshotState state;
  state.host = HostFacts::of_this_host();
  state.shape = {.memory_bytes = 16 << 20, .vcpus = 2, .devices = {2, 19}};
  state.memory.bytes = 16 << 20;
  VcpuState vcpu;
  vcpu.tsc_khz = 1000;
  vcpu.cpuid.resize(2 * sizeof(kvm_cpuid_entry2));
  vcpu.xsave.resize(sizeof(kvm_xsave));
  vcpu.msrs.resize(3 * sizeof(kvm_msr_entry));
  state.vcpus = {vcpu, vcpu};
  for (const char* name : {"ioapic", "serial", "virtio.0", "virtio.1"}) state.devices[name] = {1};
  return state;
}

std::string state_refusal(SnapshotState state) {
  const auto read = SnapshotState::read(state.write());
  return read ? "accepted" : read.error().message;
}

TEST(SnapshotState, ComesBackAsItWas) {
  SnapshotState state = some_state();
  state.vcpus[1].regs.rip = 0x1234;
  state.clock.clock.clock = 99;
  SnapshotFacts facts;
  const auto read = SnapshotState::read(state.write(), &facts);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->vcpus[1].regs.rip, 0x1234U);
  EXPECT_EQ(read->clock.clock.clock, 99U);
  EXPECT_EQ(facts.devices, (std::vector<std::string>{"disk", "vsock"}));
}

TEST(SnapshotState, FromElsewhereIsRefused) {
  SnapshotState state = some_state();
  state.host.kvm_api = 13;
  EXPECT_NE(state_refusal(state).find("another KVM ABI"), std::string::npos);
  state = some_state();
  state.host.structures ^= 1;
  EXPECT_NE(state_refusal(state).find("another KVM ABI"), std::string::npos);
  state = some_state();
  state.host.architecture = {'a', 'r', 'm'};
  EXPECT_NE(state_refusal(state).find("made on arm"), std::string::npos);
}

TEST(SnapshotState, WithoutOneOfItsPartsNamesIt) {
  for (const char* name : {"ioapic", "serial", "virtio.1"}) {
    SnapshotState state = some_state();
    state.devices.erase(name);
    EXPECT_EQ(state_refusal(state), "section '" + std::string(name) + "' is missing");
  }
  SnapshotState state = some_state();
  state.vcpus.pop_back();
  EXPECT_EQ(state_refusal(state), "section 'vcpu.1' is missing");
}

TEST(SnapshotState, WithAPartTooManyNamesIt) {
  SnapshotState state = some_state();
  state.devices["teapot"] = {};
  EXPECT_NE(state_refusal(state).find("'teapot' is unknown"), std::string::npos);
  auto sections = read_sections(some_state().write()).value();
  sections.push_back(sections.back());
  const auto read = SnapshotState::read(write_sections(sections));
  ASSERT_FALSE(read);
  EXPECT_NE(read.error().message.find("twice"), std::string::npos);
  sections = read_sections(some_state().write()).value();
  sections[0].version = 2;
  const auto newer = SnapshotState::read(write_sections(sections));
  ASSERT_FALSE(newer);
  EXPECT_NE(newer.error().message.find("version 2"), std::string::npos);
}

TEST(SnapshotState, WhoseSizesDoNotFitTogetherIsRefused) {
  SnapshotState state = some_state();
  state.shape.vcpus = 9;
  EXPECT_NE(state_refusal(state), "accepted");
  state = some_state();
  state.memory.bytes += 4096;
  EXPECT_NE(state_refusal(state), "accepted");
  state = some_state();
  state.vcpus[0].xsave.resize(100);
  EXPECT_NE(state_refusal(state).find("vcpu.0"), std::string::npos);
  state = some_state();
  state.vcpus[0].cpuid.pop_back();
  EXPECT_NE(state_refusal(state).find("CPUID"), std::string::npos);
  state = some_state();
  state.vcpus[1].nested.resize(10);
  EXPECT_NE(state_refusal(state).find("nested"), std::string::npos);
}

// ---- CPU features

std::vector<kvm_cpuid_entry2> cpu(uint32_t features) {
  kvm_cpuid_entry2 vendor{};
  vendor.ebx = 0x756e6547;  // "Genu"
  vendor.edx = 0x49656e69;  // "ineI"
  vendor.ecx = 0x6c65746e;  // "ntel"
  kvm_cpuid_entry2 extended{};
  extended.function = 7;
  extended.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
  extended.ebx = features;
  return {vendor, extended};
}

TEST(SnapshotCpu, AFeatureThatTheHostLacksIsNamed) {
  constexpr uint32_t kAvx2 = 1U << 5;
  EXPECT_TRUE(check_cpu_features(cpu(0), cpu(kAvx2), true));
  EXPECT_TRUE(check_cpu_features(cpu(kAvx2), cpu(kAvx2), true));
  const auto lacks = check_cpu_features(cpu(kAvx2), cpu(0), true);
  ASSERT_FALSE(lacks);
  EXPECT_NE(lacks.error().message.find("AVX2"), std::string::npos);
}

TEST(SnapshotCpu, AnotherVendorIsRefused) {
  auto other = cpu(0);
  other[0].ebx = 0x68747541;  // "Auth"
  EXPECT_FALSE(check_cpu_features(cpu(0), other, true));
  EXPECT_EQ(cpu_vendor(cpu(0)), "GenuineIntel");
}

// ---- the memory file

struct MemoryFile {
  Fd fd{memfd_create("memory", MFD_CLOEXEC)};
  std::vector<uint8_t> content = std::vector<uint8_t>(64 * 4096);
  MemoryFacts facts;

  MemoryFile() {
    for (const size_t page : {0, 1, 5, 63})
      content[page * 4096 + 17] = static_cast<uint8_t>(page + 1);
    facts = write_memory_file(fd.get(), content).value();
  }
};

TEST(SnapshotMemory, IsWhatWasWrittenWithHolesForZeros) {
  const MemoryFile file;
  EXPECT_EQ(file.facts.stored_pages, 4U);
  std::vector<uint8_t> read(file.content.size());
  ASSERT_EQ(pread(file.fd.get(), read.data(), read.size(), 0), static_cast<ssize_t>(read.size()));
  EXPECT_EQ(read, file.content);
  EXPECT_EQ(lseek(file.fd.get(), 2 * 4096, SEEK_DATA), 5 * 4096);
  EXPECT_TRUE(verify_memory_file(file.fd.get(), file.facts));
}

TEST(SnapshotMemory, MayHaveItsHolesFilled) {
  const MemoryFile file;
  const std::vector<uint8_t> zeros(10 * 4096);
  ASSERT_EQ(pwrite(file.fd.get(), zeros.data(), zeros.size(), 20 * 4096), 10 * 4096);
  EXPECT_TRUE(verify_memory_file(file.fd.get(), file.facts));
}

TEST(SnapshotMemory, AlteredIsRefused) {
  for (const off_t at : {17, 4096, 5 * 4096 + 17, 30 * 4096, 64 * 4096 - 1}) {
    const MemoryFile file;
    uint8_t byte = 0;
    ASSERT_EQ(pread(file.fd.get(), &byte, 1, at), 1);
    byte ^= 0x40;
    ASSERT_EQ(pwrite(file.fd.get(), &byte, 1, at), 1);
    EXPECT_FALSE(verify_memory_file(file.fd.get(), file.facts)) << at;
  }
}

TEST(SnapshotMemory, WithPagesInEachOthersPlaceIsRefused) {
  const MemoryFile file;
  ASSERT_EQ(pwrite(file.fd.get(), file.content.data() + 4096, 4096, 0), 4096);
  ASSERT_EQ(pwrite(file.fd.get(), file.content.data(), 4096, 4096), 4096);
  EXPECT_FALSE(verify_memory_file(file.fd.get(), file.facts));
}

TEST(SnapshotMemory, OfAnotherLengthIsRefused) {
  const MemoryFile file;
  for (const off_t size : {0, 4096, 64 * 4096 - 1, 65 * 4096}) {
    ASSERT_EQ(ftruncate(file.fd.get(), size), 0);
    const auto checked = check_memory_size(file.fd.get(), file.facts);
    ASSERT_FALSE(checked);
    EXPECT_NE(checked.error().message.find("bytes"), std::string::npos);
  }
  EXPECT_FALSE(check_memory_size(STDIN_FILENO, file.facts) &&
               verify_memory_file(STDIN_FILENO, file.facts));
}

}  // namespace
}  // namespace thimble

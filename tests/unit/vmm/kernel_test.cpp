// Which way each kind of kernel file is entered, and what a PVH kernel finds in memory.
#include "vmm/load/kernel.h"

#include <gtest/gtest.h>

#include "tests/unit/vmm/elf_image.h"
#include "tests/unit/vmm/test_memory.h"
#include "vmm/load/linux_boot.h"

namespace thimble {
namespace {

using test::ElfImage;
using test::file_with;
using test::path_of;
using test::TestMemory;

constexpr uint64_t kMemory = 16 << 20;

// Notes with four-byte owners and eight-byte values, which need no padding.
void put_note(std::vector<uint8_t>& to, const char (&owner)[4], uint32_t type, const void* value) {
  const uint32_t head[3] = {4, 8, type};
  const size_t at = to.size();
  to.resize(at + 24);
  std::memcpy(to.data() + at, head, 12);
  std::memcpy(to.data() + at + 12, owner, 4);
  std::memcpy(to.data() + at + 16, value, 8);
}

std::vector<uint8_t> pvh_note(uint64_t entry) {
  std::vector<uint8_t> notes;
  put_note(notes, "Xen", 18, &entry);
  return notes;
}

std::vector<uint8_t> linux_note(const char (&salt)[8]) {
  const uint32_t head[3] = {6, 8, 0x100};
  std::vector<uint8_t> out(12 + 8 + 8);
  std::memcpy(out.data(), head, 12);
  std::memcpy(out.data() + 12, "Linux", 6);
  std::memcpy(out.data() + 20, salt, 8);
  return out;
}

ElfImage plain() {
  ElfImage image;
  image.add(0x200000, 0x1000, 0x90);
  return image;
}

class KernelTest : public testing::Test {
 protected:
  Result<LoadedKernel> load(const ElfImage& image, KernelEntry wish = KernelEntry::kAuto) {
    file_ = file_with(image.bytes());
    return load_kernel(guest_.memory, {.path = path_of(file_)}, wish);
  }
  TestMemory guest_{kMemory};
  Fd file_;
};

TEST_F(KernelTest, AnElfWithoutNotesIsEnteredInLongMode) {
  const auto kernel = load(plain());
  ASSERT_TRUE(kernel) << kernel.error().message;
  EXPECT_EQ(kernel->way, KernelEntry::kLinux64);
  EXPECT_EQ(kernel->entry, 0x200000U);
  EXPECT_FALSE(kernel->wants_acpi);
  EXPECT_FALSE(load(plain(), KernelEntry::kPvh));
}

TEST_F(KernelTest, LinuxIsEnteredInLongModeUnlessPvhIsAskedFor) {
  ElfImage image = plain();
  auto notes = pvh_note(0x200800);
  const auto salt = linux_note("distro\0");
  notes.insert(notes.end(), salt.begin(), salt.end());
  image.add_notes(notes);
  const auto kernel = load(image);
  ASSERT_TRUE(kernel) << kernel.error().message;
  EXPECT_EQ(kernel->way, KernelEntry::kLinux64);
  EXPECT_EQ(kernel->entry, 0x200000U);
  const auto pvh = load(image, KernelEntry::kPvh);
  ASSERT_TRUE(pvh) << pvh.error().message;
  EXPECT_EQ(pvh->way, KernelEntry::kPvh);
  EXPECT_EQ(pvh->entry, 0x200800U);
  EXPECT_TRUE(pvh->wants_acpi);
}

TEST_F(KernelTest, AnotherSystemWithAPvhNoteIsEnteredByIt) {
  ElfImage image = plain();
  image.add_notes(pvh_note(0x200800));
  const auto kernel = load(image);
  ASSERT_TRUE(kernel) << kernel.error().message;
  EXPECT_EQ(kernel->way, KernelEntry::kPvh);
  const auto asked = load(image, KernelEntry::kLinux64);
  ASSERT_TRUE(asked);
  EXPECT_EQ(asked->entry, 0x200000U);
}

// A Linux image that has the ACPI root's name in its last bytes.
ElfImage with_acpi(const char (&salt)[8]) {
  ElfImage image = plain();
  std::memcpy(image.contents.data() + 0x1000 - 8, "LNXSYSTM", 8);
  image.add_notes(linux_note(salt));
  return image;
}

TEST_F(KernelTest, AcpiIsWantedByLinuxImagesThatKnowIt) {
  const auto kernel = load(with_acpi("distro\0"));
  ASSERT_TRUE(kernel) << kernel.error().message;
  EXPECT_TRUE(kernel->wants_acpi);
  // Our own kernel is not searched: its note says that there is nothing to find.
  EXPECT_FALSE(load(with_acpi("thimble"))->wants_acpi);
}

TEST_F(KernelTest, APvhKernelFindsMemoryInitrdCommandLineAndTables) {
  ElfImage image = plain();
  image.add_notes(pvh_note(0x200000));
  const auto kernel = load(image);
  ASSERT_TRUE(kernel);
  const Fd initrd = file_with(std::vector<uint8_t>(5000, 0x5a));
  ASSERT_TRUE(write_boot_info(
      guest_.memory, *kernel,
      {.initrd = {.path = path_of(initrd)}, .command_line = "abc", .rsdp = 0xe0000}));
  const auto u32 = [&](Gpa at) { return guest_.memory.load<uint32_t>(at).value(); };
  const auto u64 = [&](Gpa at) { return guest_.memory.load<uint64_t>(at).value(); };
  const Gpa info = map::kPvhStartInfo;
  EXPECT_EQ(u32(info), 0x336ec578U);
  EXPECT_EQ(u32(info + 4), 1U);
  EXPECT_STREQ(reinterpret_cast<char*>(guest_.memory.at(u64(info + 24), 4)), "abc");
  EXPECT_EQ(u64(info + 32), 0xe0000U);
  ASSERT_EQ(u32(info + 12), 1U);
  const Gpa module = u64(info + 16);
  EXPECT_EQ(u64(module + 8), 5000U);
  EXPECT_EQ(guest_.memory.load<uint8_t>(u64(module) + 4999), 0x5a);
  ASSERT_EQ(u32(info + 48), 3U);
  const Gpa memory = u64(info + 40);
  EXPECT_EQ(u64(memory), 0U);
  EXPECT_EQ(u64(memory + 8), map::kMpTable);
  EXPECT_EQ(u32(memory + 16), 1U);
  EXPECT_EQ(u64(memory + 24), map::kAcpiTables);
  EXPECT_EQ(u32(memory + 24 + 16), 2U);
  EXPECT_EQ(u64(memory + 48), map::kHighMemory);
  EXPECT_EQ(u64(memory + 48 + 8), kMemory - map::kHighMemory);
}

}  // namespace
}  // namespace thimble

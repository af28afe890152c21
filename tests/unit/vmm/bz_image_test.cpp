// The bzImage loader: an honest kernel gets where it wants to be, and a header that lies is refused
// with nothing written outside of guest memory.
#include "vmm/load/bz_image.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/unit/vmm/test_memory.h"
#include "vmm/load/linux_boot.h"

namespace thimble {
namespace {

using test::file_with;
using test::path_of;
using test::TestMemory;

constexpr uint64_t kMemory = 64 << 20;
constexpr Gpa kLowest = 0x100000;
constexpr size_t kHeader = 0x1f1;
constexpr size_t kSetup = 2 * 512;  // one sector of setup code beside the boot sector
constexpr size_t kCode = 0x2000;

// The file as it is: header where it belongs, setup code, protected-mode kernel.
struct Image {
  setup_header header{};
  std::vector<uint8_t> code = std::vector<uint8_t>(kCode, 0x90);

  Image() {
    header.setup_sects = 1;
    header.syssize = kCode / 16;
    header.boot_flag = 0xaa55;
    header.jump = 0x6aeb;  // over the whole header
    header.header = 0x53726448;
    header.version = 0x020f;
    header.loadflags = LOADED_HIGH;
    header.kernel_alignment = 0x200000;
    header.relocatable_kernel = 1;
    header.xloadflags = XLF_KERNEL_64;
    header.cmdline_size = 2047;
    header.initrd_addr_max = 0x7fffffff;
    header.pref_address = 0x1000000;
    header.init_size = 0x800000;
  }
  [[nodiscard]] std::vector<uint8_t> bytes() const {
    std::vector<uint8_t> out(kSetup);
    std::memcpy(out.data() + kHeader, &header, sizeof(header));
    out.insert(out.end(), code.begin(), code.end());
    return out;
  }
};

class BzImageTest : public testing::Test {
 protected:
  Result<LoadedBzImage> load(std::span<const uint8_t> bytes) {
    const Fd file = file_with(bytes);
    return load_bz_image(file.get(), "test", guest_.memory, kLowest);
  }
  Result<LoadedBzImage> load(const Image& image) { return load(image.bytes()); }
  void expect_refused(const Image& image, std::string_view words) {
    const auto loaded = load(image);
    ASSERT_FALSE(loaded);
    EXPECT_NE(loaded.error().message.find(words), std::string::npos) << loaded.error().message;
  }
  TestMemory guest_{kMemory};
};

TEST_F(BzImageTest, KernelLandsWhereItPrefersToBeAndIsEnteredAt0x200) {
  const auto loaded = load(Image());
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->entry, 0x1000200U);
  EXPECT_EQ(loaded->end, 0x1800000U);
  EXPECT_EQ(guest_.memory.load<uint8_t>(0x1000000), 0x90);
  EXPECT_EQ(guest_.memory.load<uint8_t>(0x1000000 + kCode - 1), 0x90);
  EXPECT_TRUE(guest_.untouched(0x1000000 + kCode, 0x1000));
}

TEST_F(BzImageTest, AKernelThatPrefersTooLowAPlaceIsMovedIfItCanBe) {
  Image image;
  image.header.pref_address = 0x1000;
  EXPECT_EQ(load(image)->entry, 0x200200U);
  image.header.relocatable_kernel = 0;
  expect_refused(image, "more memory");
}

TEST_F(BzImageTest, RoomToUnpackItselfMustBeThere) {
  Image image;
  image.header.init_size = kMemory - 0x1000000;
  EXPECT_TRUE(load(image));
  image.header.init_size += 1;
  expect_refused(image, "more memory");
  image.header.init_size = 0xffffffff;
  expect_refused(image, "more memory");
  for (const uint64_t place : {kMemory, kMemory - 1, uint64_t{1} << 40, UINT64_MAX}) {
    image = Image();
    image.header.pref_address = place;
    expect_refused(image, "more memory");
  }
}

TEST_F(BzImageTest, KernelsThatHaveNo64BitEntryAreRefused) {
  Image image;
  image.header.xloadflags = 0;
  expect_refused(image, "no 64-bit entry");
  image = Image();
  image.header.version = 0x020b;
  expect_refused(image, "too old");
  image = Image();
  image.header.loadflags = 0;
  expect_refused(image, "zImage");
}

TEST_F(BzImageTest, AlignmentsThatAreNoneAreRefused) {
  for (const uint32_t alignment : {0U, 1U, 0x1001U, 0x300000U, 0xffffffffU}) {
    Image image;
    image.header.kernel_alignment = alignment;
    expect_refused(image, "alignment");
  }
}

TEST_F(BzImageTest, FileCutAtAnyPlaceIsRefused) {
  const auto whole = Image().bytes();
  for (size_t size = 0; size + 16 <= whole.size(); size += 7) {
    EXPECT_FALSE(load(std::span(whole).first(size))) << size;
  }
}

TEST_F(BzImageTest, SizesThatLieAreRefused) {
  Image image;
  image.header.syssize = 0;
  expect_refused(image, "empty");
  image = Image();
  image.header.syssize = 0xffffffff;
  expect_refused(image, "cut short");
  image = Image();
  image.header.setup_sects = 255;
  expect_refused(image, "cut short");
}

TEST_F(BzImageTest, WhatFollowsAShortHeaderIsNotTakenForOne) {
  Image image;
  image.header.jump = 0x60eb;  // ends before pref_address' last bytes and init_size
  const auto loaded = load(image);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(+loaded->header.init_size, 0U);
  EXPECT_EQ(+loaded->header.handover_offset, 0U);
}

TEST_F(BzImageTest, OtherFilesAreNotTakenForABzImage) {
  EXPECT_FALSE(is_bz_image(file_with(std::vector<uint8_t>(4096, 0)).get()));
  EXPECT_FALSE(is_bz_image(file_with(std::vector<uint8_t>(16, 0)).get()));
  Image image;
  EXPECT_TRUE(is_bz_image(file_with(image.bytes()).get()));
  image.header.boot_flag = 0;
  EXPECT_FALSE(is_bz_image(file_with(image.bytes()).get()));
}

TEST_F(BzImageTest, DamagedHeadersNeverWriteOutsideOfMemory) {
  std::mt19937 random(1);  // NOLINT: the same damage every time
  const auto whole = Image().bytes();
  unsigned taken = 0;
  for (int round = 0; round < 5000; ++round) {
    auto damaged = whole;
    for (int i = 0; i < 2; ++i) {
      damaged[kHeader + random() % sizeof(setup_header)] = uint8_t(random());
    }
    const auto loaded = load(damaged);
    if (!loaded) continue;
    ++taken;
    EXPECT_LE(loaded->end, kMemory);
    EXPECT_GE(loaded->entry, kLowest);
  }
  EXPECT_GT(taken, 500U);
}

TEST_F(BzImageTest, TheZeroPageCarriesTheFilesOwnHeader) {
  const Fd file = file_with(Image().bytes());
  const auto kernel = load_kernel(guest_.memory, {.path = path_of(file)}, KernelEntry::kAuto);
  ASSERT_TRUE(kernel) << kernel.error().message;
  EXPECT_TRUE(kernel->wants_acpi);
  EXPECT_EQ(kernel->way, KernelEntry::kLinux64);
  ASSERT_TRUE(write_boot_info(guest_.memory, *kernel,
                              {.initrd = {}, .command_line = "quiet", .rsdp = 0xe0000}));
  const auto params = guest_.memory.load<boot_params>(map::kZeroPage).value();
  EXPECT_EQ(+params.hdr.init_size, 0x800000U);
  EXPECT_EQ(+params.hdr.kernel_alignment, 0x200000U);
  EXPECT_EQ(+params.hdr.type_of_loader, 0xff);
  EXPECT_EQ(+params.hdr.cmd_line_ptr, map::kCommandLine);
  EXPECT_FALSE(load_kernel(guest_.memory, {.path = path_of(file)}, KernelEntry::kPvh));
}

TEST_F(BzImageTest, TheKernelsOwnLimitsOfCommandLineAndInitrdHold) {
  Image image;
  image.header.initrd_addr_max = 0x1ffffff;
  const Fd file = file_with(image.bytes());
  const auto kernel = load_kernel(guest_.memory, {.path = path_of(file)}, KernelEntry::kAuto);
  ASSERT_TRUE(kernel);
  EXPECT_FALSE(write_boot_info(guest_.memory, *kernel,
                               {.initrd = {}, .command_line = std::string(2048, 'x'), .rsdp = 0}));
  const Fd initrd = file_with(std::vector<uint8_t>(4096, 1));
  ASSERT_TRUE(write_boot_info(
      guest_.memory, *kernel,
      {.initrd = {.path = path_of(initrd)}, .command_line = std::string(2047, 'x'), .rsdp = 0}));
  const auto params = guest_.memory.load<boot_params>(map::kZeroPage).value();
  EXPECT_EQ(+params.hdr.ramdisk_image, 0x2000000U - 4096);
}

}  // namespace
}  // namespace thimble

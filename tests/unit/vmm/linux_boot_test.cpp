// What Linux finds in memory when it is entered: memory map, command line, initrd.
#include "vmm/load/linux_boot.h"

#include <asm/bootparam.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "tests/unit/vmm/elf_image.h"
#include "tests/unit/vmm/test_memory.h"

namespace thimble {
namespace {

using test::file_with;
using test::path_of;
using test::TestMemory;

constexpr uint64_t kMiB = 1 << 20;

struct Ram {
  uint64_t start;
  uint64_t size;
  bool operator==(const Ram&) const = default;
};

class LinuxBootTest : public testing::Test {
 protected:
  LinuxBootTest() {
    test::ElfImage image;
    image.add(0x100000, 0x1000, 0x90, 0x1000);
    kernel_ = file_with(image.bytes());
  }

  Result<Gpa> load(const TestMemory& guest, const std::string& initrd = "",
                   const std::string& line = "console=ttyS0", Gpa rsdp = 0) {
    auto kernel = load_kernel(guest.memory, {.path = path_of(kernel_)}, KernelEntry::kAuto);
    if (!kernel) return std::unexpected(kernel.error());
    auto done = write_boot_info(guest.memory, *kernel,
                                {.initrd = {.path = initrd}, .command_line = line, .rsdp = rsdp});
    if (!done) return std::unexpected(done.error());
    return kernel->entry;
  }
  static boot_params params(const TestMemory& guest) {
    return guest.memory.load<boot_params>(map::kZeroPage).value();
  }
  static std::vector<Ram> memory_map(const TestMemory& guest) {
    const boot_params found = params(guest);
    std::vector<Ram> out;
    for (unsigned i = 0; i < found.e820_entries; ++i) {
      EXPECT_EQ(+found.e820_table[i].type, 1U);
      out.push_back({+found.e820_table[i].addr, +found.e820_table[i].size});
    }
    return out;
  }

  Fd kernel_;
};

TEST_F(LinuxBootTest, ZeroPageSaysWhatTheBootProtocolAsksFor) {
  const TestMemory guest(64 * kMiB);
  const auto entry = load(guest, "", "console=ttyS0 quiet");
  ASSERT_TRUE(entry) << entry.error().message;
  EXPECT_EQ(*entry, 0x100000U);
  const boot_params found = params(guest);
  EXPECT_EQ(+found.hdr.boot_flag, 0xaa55);
  EXPECT_EQ(+found.hdr.header, 0x53726448U);
  EXPECT_NE(found.hdr.type_of_loader, 0);
  EXPECT_EQ(+found.hdr.cmd_line_ptr, map::kCommandLine);
  EXPECT_EQ(+found.hdr.ramdisk_size, 0U);
  EXPECT_STREQ(reinterpret_cast<char*>(guest.memory.at(map::kCommandLine, 20)),
               "console=ttyS0 quiet");
}

TEST_F(LinuxBootTest, ACommandLineThatLinuxWouldCutIsRefusedWithTheNumbers) {
  const TestMemory guest(64 * kMiB);
  EXPECT_TRUE(load(guest, "", std::string(2047, 'x')));
  const auto refused = load(guest, "", std::string(2048, 'x'));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("2048 bytes"), std::string::npos);
  EXPECT_NE(refused.error().message.find("takes 2047"), std::string::npos);
}

TEST_F(LinuxBootTest, MemoryMapLeavesOutTheMpTableAndTheVideoArea) {
  const TestMemory guest(64 * kMiB);
  ASSERT_TRUE(load(guest));
  EXPECT_EQ(memory_map(guest), (std::vector<Ram>{{0, map::kMpTable}, {0x100000, 63 * kMiB}}));
}

TEST_F(LinuxBootTest, MemoryUpToTheHoleIsOneRange) {
  const TestMemory guest(map::kHoleStart);
  ASSERT_TRUE(load(guest));
  EXPECT_EQ(memory_map(guest),
            (std::vector<Ram>{{0, map::kMpTable}, {0x100000, map::kHoleStart - 0x100000}}));
}

TEST_F(LinuxBootTest, MemoryBeyondTheHoleBeginsAtFourGigabytes) {
  const TestMemory guest(map::kHoleStart + 256 * kMiB);
  ASSERT_TRUE(load(guest));
  EXPECT_EQ(memory_map(guest), (std::vector<Ram>{{0, map::kMpTable},
                                                 {0x100000, map::kHoleStart - 0x100000},
                                                 {1ULL << 32, 256 * kMiB}}));
}

TEST_F(LinuxBootTest, AcpiTablesAreNamedAndTheirPlaceIsReserved) {
  const TestMemory guest(64 * kMiB);
  ASSERT_TRUE(load(guest, "", "", map::kAcpiTables));
  const boot_params found = params(guest);
  EXPECT_EQ(+found.acpi_rsdp_addr, map::kAcpiTables);
  ASSERT_EQ(found.e820_entries, 3);
  EXPECT_EQ(+found.e820_table[1].type, 2U);
  EXPECT_EQ(+found.e820_table[1].addr, map::kAcpiTables);
  EXPECT_EQ(found.e820_table[1].addr + found.e820_table[1].size, map::kHighMemory);
}

TEST_F(LinuxBootTest, InitrdIsPageAlignedAtTheTopOfMemory) {
  const TestMemory guest(64 * kMiB);
  const std::vector<uint8_t> bytes(5000, 0x5a);
  const Fd initrd = file_with(bytes);
  ASSERT_TRUE(load(guest, path_of(initrd)));
  const boot_params found = params(guest);
  EXPECT_EQ(+found.hdr.ramdisk_size, 5000U);
  EXPECT_EQ(+found.hdr.ramdisk_image, 64 * kMiB - 8192);
  const uint8_t* at = guest.memory.at(found.hdr.ramdisk_image, 5000);
  ASSERT_NE(at, nullptr);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), at));
  EXPECT_TRUE(guest.untouched(found.hdr.ramdisk_image + 5000, 8192 - 5000));
}

TEST_F(LinuxBootTest, InitrdStaysBelowTwoGigabytesInABigGuest) {
  const TestMemory guest(map::kHoleStart + 256 * kMiB);
  const Fd initrd = file_with(std::vector<uint8_t>(4096, 1));
  ASSERT_TRUE(load(guest, path_of(initrd)));
  EXPECT_EQ(params(guest).hdr.ramdisk_image, 0x80000000U - 4096);
}

TEST_F(LinuxBootTest, InitrdMayNotCoverTheKernel) {
  const TestMemory guest(16 * kMiB);
  const Fd fits = file_with(std::vector<uint8_t>(16 * kMiB - 0x102000, 1));
  EXPECT_TRUE(load(guest, path_of(fits)));
  const Fd touches = file_with(std::vector<uint8_t>(16 * kMiB - 0x102000 + 1, 1));
  const auto refused = load(guest, path_of(touches));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("do not fit"), std::string::npos);
}

TEST_F(LinuxBootTest, InitrdLargerThanMemoryEmptyOrMissingIsRefused) {
  const TestMemory guest(16 * kMiB);
  const Fd huge = file_with({});
  ASSERT_EQ(ftruncate(huge.get(), int64_t{1} << 40), 0);
  EXPECT_FALSE(load(guest, path_of(huge)));
  const Fd empty = file_with({});
  EXPECT_FALSE(load(guest, path_of(empty)));
  const auto missing = load(guest, "/nonexistent/initrd");
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find("open initrd /nonexistent/initrd"), std::string::npos);
}

TEST_F(LinuxBootTest, CommandLineOfTheLargestSizeFitsAndOneByteMoreDoesNot) {
  const TestMemory guest(16 * kMiB);
  constexpr size_t kLongest = 2047;  // and a zero byte: Linux' COMMAND_LINE_SIZE on x86
  EXPECT_TRUE(load(guest, "", std::string(kLongest, 'x')));
  EXPECT_EQ(guest.memory.load<uint8_t>(map::kCommandLine + kLongest), 0);
  EXPECT_FALSE(load(guest, "", std::string(kLongest + 1, 'x')));
  EXPECT_FALSE(load(guest, "", std::string("a\0b", 3)));
}

TEST_F(LinuxBootTest, AFifoAsKernelIsRefusedInsteadOfWaitedFor) {
  const std::string path = testing::TempDir() + "thimble-fifo-" + std::to_string(::getpid());
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const TestMemory guest(64 * kMiB);
  const auto entry = load_kernel(guest.memory, {.path = path}, KernelEntry::kAuto);
  ::unlink(path.c_str());
  ASSERT_FALSE(entry);
  EXPECT_NE(entry.error().message.find("not a regular file"), std::string::npos);
}

TEST_F(LinuxBootTest, MissingKernelIsNamed) {
  const TestMemory guest(16 * kMiB);
  const auto missing =
      load_kernel(guest.memory, {.path = "/nonexistent/vmlinux"}, KernelEntry::kAuto);
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find("open kernel /nonexistent/vmlinux"), std::string::npos);
}

}  // namespace
}  // namespace thimble

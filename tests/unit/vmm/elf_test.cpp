// The ELF loader: an honest kernel gets where it wants to be, and a file that lies is refused with
// nothing written outside of guest memory.
#include "vmm/load/elf.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/unit/vmm/elf_image.h"
#include "tests/unit/vmm/test_memory.h"

namespace thimble {
namespace {

using test::ElfImage;
using test::file_with;
using test::TestMemory;

constexpr uint64_t kMemory = 4 << 20;
constexpr Gpa kLowest = 0x100000;

class ElfTest : public testing::Test {
 protected:
  Result<LoadedElf> load(std::span<const uint8_t> bytes) {
    const Fd file = file_with(bytes);
    return load_elf(file.get(), "test", guest_.memory, kLowest);
  }
  Result<LoadedElf> load(const ElfImage& image) { return load(image.bytes()); }

  // Refused with a message that has `words` in it.
  void expect_refused(const ElfImage& image, std::string_view words) {
    const auto loaded = load(image);
    ASSERT_FALSE(loaded);
    EXPECT_NE(loaded.error().message.find(words), std::string::npos) << loaded.error().message;
  }

  static ElfImage honest() {
    ElfImage image;
    image.add(0x100000, 0x1000, 0xaa, 0x500);
    image.add(0x200000, 0x10, 0xbb);
    return image;
  }

  TestMemory guest_{kMemory};
};

TEST_F(ElfTest, SegmentsLandAtTheirPhysicalAddresses) {
  ElfImage image = honest();
  image.segments[0].p_vaddr = 0xffffffff81000000;  // a kernel's virtual address
  const auto loaded = load(image);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->entry, 0x100000U);
  EXPECT_EQ(loaded->end, 0x200010U);
  EXPECT_EQ(guest_.memory.load<uint8_t>(0x100000), 0xaa);
  EXPECT_EQ(guest_.memory.load<uint8_t>(0x100fff), 0xaa);
  EXPECT_TRUE(guest_.untouched(0x101000, 0x500));
  EXPECT_EQ(guest_.memory.load<uint8_t>(0x20000f), 0xbb);
}

TEST_F(ElfTest, SegmentMayEndWithTheLastByteOfMemoryAndNotOneLater) {
  ElfImage image;
  image.add(kMemory - 0x100, 0x100, 1);
  EXPECT_TRUE(load(image));
  image.segments[0].p_memsz += 1;
  expect_refused(image, "does not fit");
}

TEST_F(ElfTest, OtherSegmentTypesAndEmptySegmentsAreSkipped) {
  ElfImage image = honest();
  image.add(0xdead0000000, 16, 1).p_type = PT_NOTE;
  Elf64_Phdr& empty = image.add(0xdead0000000, 0, 1);
  empty.p_memsz = 0;
  EXPECT_TRUE(load(image));
}

TEST_F(ElfTest, FilesThatAreNotElfAreRefusedWithTheNextStep) {
  const std::vector<uint8_t> text = {'#', '!', '/', 'b', 'i', 'n', '/', 's', 'h', '\n'};
  const auto loaded = load(text);
  ASSERT_FALSE(loaded);
  EXPECT_NE(loaded.error().message.find("uncompressed vmlinux"), std::string::npos);
  EXPECT_FALSE(load(std::vector<uint8_t>{}));
  EXPECT_FALSE(load(std::vector<uint8_t>(4096, 0)));
}

TEST_F(ElfTest, OtherProcessorsClassesAndTypesAreRefused) {
  ElfImage image = honest();
  image.header.e_ident[EI_CLASS] = ELFCLASS32;
  expect_refused(image, "not an x86-64");
  image = honest();
  image.header.e_ident[EI_DATA] = ELFDATA2MSB;
  expect_refused(image, "not an x86-64");
  image = honest();
  image.header.e_machine = EM_AARCH64;
  expect_refused(image, "not an x86-64");
  image = honest();
  image.header.e_type = ET_REL;
  expect_refused(image, "not an x86-64");
}

TEST_F(ElfTest, ProgramHeaderTablesThatLieAreRefused) {
  ElfImage image = honest();
  image.header.e_phnum = 0;
  expect_refused(image, "program header");
  image = honest();
  image.header.e_phnum = 0xffff;
  expect_refused(image, "program header");
  image = honest();
  image.header.e_phentsize = 32;
  expect_refused(image, "program header");
  image = honest();
  image.header.e_phoff = 1 << 30;
  expect_refused(image, "outside the file");
  image.header.e_phoff = UINT64_MAX - 8;
  expect_refused(image, "outside the file");
}

TEST_F(ElfTest, FileCutAtAnyPlaceIsRefused) {
  const auto whole = honest().bytes();
  for (size_t size = 0; size < whole.size(); size += size < 0x200 ? 1 : 97) {
    EXPECT_FALSE(load(std::span(whole).first(size))) << size;
  }
}

TEST_F(ElfTest, SegmentsLongerThanTheFileAreRefused) {
  ElfImage image = honest();
  image.segments[0].p_filesz = image.segments[0].p_memsz = 0x100000;
  expect_refused(image, "cut short");
  image = honest();
  image.segments[0].p_offset = UINT64_MAX - 0x10;  // offset + size wraps
  expect_refused(image, "cut short");
}

TEST_F(ElfTest, SegmentWithMoreInTheFileThanInMemoryIsRefused) {
  ElfImage image = honest();
  image.segments[0].p_memsz = image.segments[0].p_filesz - 1;
  expect_refused(image, "segment");
}

TEST_F(ElfTest, SegmentsOutsideOfMemoryAreRefused) {
  for (const uint64_t address : {uint64_t{0}, uint64_t{kLowest - 1}, kMemory, kMemory - 1,
                                 uint64_t{1} << 40, UINT64_MAX, UINT64_MAX - 0xfff}) {
    ElfImage image = honest();
    image.segments[0].p_paddr = image.header.e_entry = address;
    expect_refused(image, "does not fit");
  }
  ElfImage image = honest();
  image.segments[0].p_memsz = UINT64_MAX - 0xfffff;  // address + size wraps
  expect_refused(image, "does not fit");
}

TEST_F(ElfTest, SegmentMayNotReachAcrossTheHole) {
  TestMemory big(map::kHoleStart + (16ULL << 20));
  ElfImage image;
  image.add(map::kHoleStart - 0x1000, 0x1000, 1);
  const Fd fits = file_with(image.bytes());
  EXPECT_TRUE(load_elf(fits.get(), "test", big.memory, kLowest));
  image.segments[0].p_memsz = 0x40000000;
  const Fd across = file_with(image.bytes());
  EXPECT_FALSE(load_elf(across.get(), "test", big.memory, kLowest));
}

TEST_F(ElfTest, EntryOutsideEveryLoadedByteIsRefused) {
  ElfImage image = honest();
  image.header.e_entry = 0x300000;
  expect_refused(image, "entry point");
  image.header.e_entry = 0x101000;  // in the zeros after the first segment: no code there
  expect_refused(image, "entry point");
  image.header.e_entry = 0x100fff;
  EXPECT_TRUE(load(image));
}

TEST_F(ElfTest, OverlappingSegmentsStayInsideMemoryAndTheLaterOneStands) {
  ElfImage image = honest();
  image.add(0x100800, 0x1000, 0xcc);
  const auto loaded = load(image);
  ASSERT_TRUE(loaded);
  EXPECT_EQ(guest_.memory.load<uint8_t>(0x1007ff), 0xaa);
  EXPECT_EQ(guest_.memory.load<uint8_t>(0x100800), 0xcc);
}

TEST_F(ElfTest, NoSegmentToLoadIsRefused) {
  ElfImage image = honest();
  for (auto& segment : image.segments) segment.p_type = PT_NOTE;
  expect_refused(image, "entry point");
}

TEST_F(ElfTest, DamagedHeadersNeverWriteOutsideOfMemory) {
  std::mt19937 random(1);  // NOLINT: the same damage every time
  const auto whole = honest().bytes();
  constexpr size_t kHeaders = sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr);
  for (int round = 0; round < 5000; ++round) {
    auto damaged = whole;
    for (int i = 0; i < 4; ++i) damaged[4 + random() % (kHeaders - 4)] = uint8_t(random());
    const auto loaded = load(damaged);
    if (loaded) {
      EXPECT_LE(loaded->end, kMemory);
      EXPECT_GE(loaded->entry, kLowest);
    }
  }
}

}  // namespace
}  // namespace thimble

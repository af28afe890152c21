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
  EXPECT_NE(loaded.error().message.find("give an uncompressed vmlinux"), std::string::npos);
  EXPECT_FALSE(load(std::vector<uint8_t>{}));
  EXPECT_FALSE(load(std::vector<uint8_t>(4096, 0)));
}

TEST_F(ElfTest, OtherProcessorsClassesAndTypesAreRefused) {
  ElfImage image = honest();
  image.header.e_ident[EI_CLASS] = ELFCLASS32;  // with the machine number of the wide class
  expect_refused(image, "not an x86-64");
  image.header.e_ident[EI_CLASS] = 3;
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

// A note as compilers write them, padded.
std::vector<uint8_t> note(std::string_view owner, uint32_t type, std::span<const uint8_t> value) {
  const auto padded = [](size_t size) { return (size + 3) & ~size_t{3}; };
  const uint32_t head[3] = {static_cast<uint32_t>(owner.size() + 1),
                            static_cast<uint32_t>(value.size()), type};
  std::vector<uint8_t> out(sizeof(head) + padded(owner.size() + 1) + padded(value.size()));
  std::memcpy(out.data(), head, sizeof(head));
  std::memcpy(out.data() + sizeof(head), owner.data(), owner.size());
  std::memcpy(out.data() + sizeof(head) + padded(owner.size() + 1), value.data(), value.size());
  return out;
}

std::vector<uint8_t> pvh_note(uint64_t entry) {
  return note("Xen", 18, std::span(reinterpret_cast<const uint8_t*>(&entry), sizeof(entry)));
}

TEST_F(ElfTest, NotesNameThePvhEntryAndWhoConfiguredTheKernel) {
  ElfImage image = honest();
  auto notes = note("GNU", 3, std::vector<uint8_t>(20, 7));
  const auto salt = note("Linux", 0x100, std::vector<uint8_t>{'m', 'i', 'n', 'e', 0});
  const auto pvh = pvh_note(0x100800);
  notes.insert(notes.end(), salt.begin(), salt.end());
  notes.insert(notes.end(), pvh.begin(), pvh.end());
  image.add_notes(notes);
  const auto loaded = load(image);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->entry, 0x100000U);
  EXPECT_EQ(loaded->pvh_entry, 0x100800U);
  EXPECT_TRUE(loaded->linux_notes);
  EXPECT_EQ(loaded->build_salt, "mine");
}

TEST_F(ElfTest, APvhEntryAloneIsEnoughAndOneOutsideOfTheImageIsNone) {
  ElfImage image = honest();
  image.header.e_entry = 0xffffffff81000000;  // FreeBSD names a virtual address
  image.add_notes(pvh_note(0x100000));
  const auto loaded = load(image);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_FALSE(loaded->entry);
  EXPECT_EQ(loaded->pvh_entry, 0x100000U);
  ElfImage outside = honest();
  outside.add_notes(pvh_note(0x300000));
  EXPECT_FALSE(load(outside)->pvh_entry);
}

TEST_F(ElfTest, NotesCutAtAnyPlaceOrFullOfLiesAreReadToTheLastHonestOne) {
  auto notes = pvh_note(0x100000);
  const auto lie = note("Linux", 0x100, std::vector<uint8_t>(8, 'x'));
  notes.insert(notes.end(), lie.begin(), lie.end());
  for (size_t size = 0; size <= notes.size(); ++size) {
    ElfImage image = honest();
    image.add_notes(std::span(notes).first(size));
    const auto loaded = load(image);
    ASSERT_TRUE(loaded);
    EXPECT_EQ(loaded->pvh_entry.has_value(), size >= 24) << size;
  }
  std::mt19937 random(2);  // NOLINT: the same damage every time
  for (int round = 0; round < 3000; ++round) {
    auto damaged = notes;
    for (int i = 0; i < 3; ++i) damaged[random() % damaged.size()] = uint8_t(random());
    ElfImage image = honest();
    image.add_notes(damaged);
    const auto loaded = load(image);
    ASSERT_TRUE(loaded);
    EXPECT_GE(loaded->pvh_entry.value_or(kLowest), kLowest);
    EXPECT_LE(loaded->build_salt.size(), 64U);
  }
}

TEST_F(ElfTest, ASegmentThatTakesNoMemoryHoldsNoEntry) {
  ElfImage image = honest();
  image.add(0x300000, 0x10, 1).p_memsz = 0;
  image.header.e_entry = 0x300000;
  expect_refused(image, "entry point");
}

TEST_F(ElfTest, A32BitImageNeedsAPvhEntry) {
  // The same layout in the narrow class: header, one segment, its notes.
  Elf32_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS32;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_type = ET_EXEC;
  header.e_machine = EM_386;
  header.e_entry = 0x100000;
  header.e_phoff = sizeof(header);
  header.e_phentsize = sizeof(Elf32_Phdr);
  header.e_phnum = 2;
  const auto notes = pvh_note(0x100004);
  Elf32_Phdr segments[2] = {};
  segments[0].p_type = PT_LOAD;
  segments[0].p_offset = 0x200;
  segments[0].p_paddr = 0x100000;
  segments[0].p_filesz = segments[0].p_memsz = 16;
  segments[1].p_type = PT_NOTE;
  segments[1].p_offset = 0x300;
  segments[1].p_filesz = static_cast<uint32_t>(notes.size());
  std::vector<uint8_t> bytes(0x400);
  std::memcpy(bytes.data() + sizeof(header), segments, sizeof(segments));
  std::memcpy(bytes.data() + 0x300, notes.data(), notes.size());
  std::memcpy(bytes.data(), &header, sizeof(header));
  const auto loaded = load(bytes);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_FALSE(loaded->entry);
  EXPECT_EQ(loaded->pvh_entry, 0x100004U);

  header.e_phnum = 1;  // without the notes
  std::memcpy(bytes.data(), &header, sizeof(header));
  const auto refused = load(bytes);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("32-bit"), std::string::npos) << refused.error().message;
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
      EXPECT_GE(loaded->entry.value_or(kLowest), kLowest);
    }
  }
}

}  // namespace
}  // namespace thimble

// What a file asks of the loader, and files that lie about it.
#include "pool/image/elf_needs.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "pool/image/files.h"
#include "tests/unit/image/elf_file.h"
#include "tests/unit/image/scratch.h"

namespace thimble::image {
namespace {

using Kind = ElfNeeds::Kind;
using Names = std::vector<std::string>;

class ElfNeedsTest : public testing::Test {
 protected:
  ElfNeeds read(const std::string& bytes) { return read_elf_needs(scratch_.add("file", bytes)); }
  // With one number of the file changed.
  template <class T>
  ElfNeeds read_with(std::size_t at, T value) {
    std::string bytes = whole_.bytes();
    std::memcpy(bytes.data() + at, &value, sizeof value);
    return read(bytes);
  }

  Scratch scratch_;
  ElfFile whole_{.interpreter = "/lib64/ld-linux-x86-64.so.2",
                 .dynamic = {{DT_NEEDED, "libm.so.6"},
                             {DT_NEEDED, "libc.so.6"},
                             {DT_SONAME, "libx.so.1"},
                             {DT_RUNPATH, "$ORIGIN/../lib:/opt"}}};
};

TEST_F(ElfNeedsTest, NamesLibrariesAndWhereToLook) {
  const ElfNeeds needs = read(whole_.bytes());
  EXPECT_EQ(needs.kind, Kind::kGlibc);
  EXPECT_EQ(needs.needed, (Names{"libm.so.6", "libc.so.6"}));
  EXPECT_EQ(needs.soname, "libx.so.1");
  EXPECT_EQ(needs.search, (Names{"$ORIGIN/../lib", "/opt"}));
}

TEST_F(ElfNeedsTest, RunpathCountsBeforeRpath) {
  EXPECT_EQ(read(ElfFile{.dynamic = {{DT_RPATH, "/old"}}}.bytes()).search, Names{"/old"});
  const ElfFile both{.dynamic = {{DT_RUNPATH, "/new"}, {DT_RPATH, "/old"}}};
  EXPECT_EQ(read(both.bytes()).search, Names{"/new"});
}

TEST_F(ElfNeedsTest, MuslIsKnownByItsLoaderAndByItsLibrary) {
  EXPECT_EQ(read(ElfFile{.interpreter = "/lib/ld-musl-x86_64.so.1"}.bytes()).kind, Kind::kMusl);
  for (const char* library : {"libc.musl-x86_64.so.1", "libc.so", "ld-musl-x86_64.so.1"}) {
    EXPECT_EQ(read(ElfFile{.dynamic = {{DT_NEEDED, library}}}.bytes()).kind, Kind::kMusl);
  }
}

TEST_F(ElfNeedsTest, OtherMachinesFilesAreForeign) {
  EXPECT_EQ(read(ElfFile{.machine = EM_AARCH64}.bytes()).kind, Kind::kForeign);
  EXPECT_EQ(read(ElfFile{.elf_class = ELFCLASS32}.bytes()).kind, Kind::kForeign);
}

TEST_F(ElfNeedsTest, OtherFilesAreNone) {
  for (const std::string& bytes : {std::string(), std::string("\177ELF"), std::string(5000, 'x')}) {
    EXPECT_EQ(read(bytes).kind, Kind::kNone);
  }
  EXPECT_EQ(read(ElfFile{.type = ET_REL}.bytes()).kind, Kind::kNone);
  EXPECT_EQ(read_elf_needs(scratch_.path() / "missing").kind, Kind::kNone);
  ASSERT_EQ(::mkfifo((scratch_.path() / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(read_elf_needs(scratch_.path() / "fifo").kind, Kind::kNone);
  scratch_.add("real", whole_.bytes());
  ASSERT_TRUE(make_symlink("real", scratch_.path() / "link"));
  EXPECT_EQ(read_elf_needs(scratch_.path() / "link").kind, Kind::kNone)
      << "a link may lead anywhere";
}

// At each length the file ends within something.
TEST_F(ElfNeedsTest, CutFilesAreReadWithoutHarm) {
  const std::string bytes = whole_.bytes();
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_EQ(read(bytes.substr(0, length)).kind == Kind::kGlibc, false) << length;
  }
}

TEST_F(ElfNeedsTest, FieldsThatPointElsewhereAreRefused) {
  constexpr std::size_t kSegment = sizeof(Elf64_Ehdr);
  constexpr std::size_t kDynamic = kSegment + sizeof(Elf64_Phdr);
  constexpr std::uint64_t kHuge[] = {~0ULL, 1ULL << 63, 1ULL << 40, ~0ULL - 7};
  for (const std::uint64_t huge : kHuge) {
    EXPECT_EQ(read_with(offsetof(Elf64_Ehdr, e_phoff), huge).kind, Kind::kNone);
    EXPECT_EQ(read_with(kDynamic + offsetof(Elf64_Phdr, p_offset), huge).kind, Kind::kNone);
    EXPECT_EQ(read_with(kDynamic + offsetof(Elf64_Phdr, p_filesz), huge).kind, Kind::kNone);
    EXPECT_EQ(read_with(kSegment + offsetof(Elf64_Phdr, p_vaddr), huge).kind, Kind::kNone);
    EXPECT_EQ(read_with(kSegment + offsetof(Elf64_Phdr, p_offset), huge).kind, Kind::kNone);
  }
  EXPECT_EQ(read_with(offsetof(Elf64_Ehdr, e_phnum), std::uint16_t{0xffff}).kind, Kind::kNone);
  EXPECT_EQ(read_with(offsetof(Elf64_Ehdr, e_phentsize), std::uint16_t{1}).kind, Kind::kNone);
}

TEST_F(ElfNeedsTest, ThousandsOfLibrariesAreRefused) {
  ElfFile many;
  for (int i = 0; i < 300; ++i) many.dynamic.emplace_back(DT_NEEDED, "libc.so.6");
  EXPECT_EQ(read(many.bytes()).kind, Kind::kNone);
  const ElfFile endless{.dynamic = {{DT_NEEDED, std::string(10000, 'x')}}};
  EXPECT_EQ(read(endless.bytes()).kind, Kind::kNone);
}

TEST(SonameTest, OnlyPlainNamesAreGivenToOthers) {
  for (const char* plain : {"libX11.so.6", "libstdc++.so.6", "ld-linux-x86-64.so.2", "a_b-c"}) {
    EXPECT_TRUE(is_plain_soname(plain)) << plain;
  }
  for (const char* other : {"", "-rf", ".hidden", "a b", "a/b", "a\nb", "a\033[0m", "a;b"}) {
    EXPECT_FALSE(is_plain_soname(other)) << other;
  }
  EXPECT_FALSE(is_plain_soname(std::string(129, 'a')));
}

}  // namespace
}  // namespace thimble::image

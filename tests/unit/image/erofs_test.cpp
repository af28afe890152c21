// erofs images: equal trees give equal bytes, and what is no whole image is told apart.
#include "tools/image/erofs.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <random>

#include "pool/image/erofs_check.h"
#include "pool/image/sha256.h"
#include "tests/unit/image/scratch.h"

namespace thimble::image {
namespace {

namespace fs = std::filesystem;

std::string message_of(const Result<void>& result) {
  return result ? std::string("(no error)") : result.error().message;
}

fs::path sound_image(const Scratch& scratch) {
  scratch.add("tree/a/b.txt", std::string(100'000, 'b'));
  const fs::path file = scratch.path() / "sound.erofs";
  const Result<void> made = make_erofs(scratch.path() / "tree", file, Compression::kNone);
  EXPECT_TRUE(made) << message_of(made);
  return file;
}

TEST(ErofsTest, TheSameTreeGivesTheSameBytesWhateverItsTimesAndOrder) {
  const Scratch scratch;
  scratch.add("one/a", "1");
  scratch.add("one/d/b", "2");
  scratch.add("two/d/b", "2");
  scratch.add("two/a", "1");
  const timespec old[2] = {{1000, 0}, {1000, 0}};
  ::utimensat(AT_FDCWD, (scratch.path() / "two/a").c_str(), old, 0);
  for (const Compression compression : {Compression::kLz4, Compression::kNone}) {
    ASSERT_TRUE(make_erofs(scratch.path() / "one", scratch.path() / "1.erofs", compression));
    ASSERT_TRUE(make_erofs(scratch.path() / "two", scratch.path() / "2.erofs", compression));
    EXPECT_EQ(*sha256_file(scratch.path() / "1.erofs"), *sha256_file(scratch.path() / "2.erofs"));
  }
}

// What fsck.erofs unpacks.
struct stat unpacked(const fs::path& image, const std::string& name) {
  const fs::path to = image.string() + ".unpacked";
  const std::string command =
      "fsck.erofs --extract=" + to.string() + " " + image.string() + " >/dev/null 2>&1";
  EXPECT_EQ(std::system(command.c_str()), 0);
  struct stat status{};
  EXPECT_EQ(::lstat((to / name).c_str(), &status), 0);
  remove_tree(to);
  return status;
}

TEST(ErofsTest, AUsersFilesKeepTheirTimesAndOwners) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to unpack owners";
  const Scratch scratch;
  const fs::path file = scratch.add("tree/home/app");
  ASSERT_EQ(::chown(file.c_str(), 1000, 1001), 0);
  const timespec then[2] = {{1'600'000'000, 5}, {1'600'000'000, 5}};
  ASSERT_EQ(::utimensat(AT_FDCWD, file.c_str(), then, 0), 0);
  const fs::path image = scratch.path() / "1.erofs";
  const fs::path tree = scratch.path() / "tree";
  const struct {
    Stamp stamp;
    uid_t uid;
    gid_t gid;
    time_t time;
  } cases[] = {
      {{.keeps_times = true, .keeps_owners = true}, 1000, 1001, 1'600'000'000},
      {{.keeps_times = true, .keeps_owners = false, .uid = 7, .gid = 8}, 7, 8, 1'600'000'000},
      {{}, 0, 0, 315'532'800},
  };
  for (const auto& c : cases) {
    ASSERT_TRUE(make_erofs(tree, image, Compression::kNone, {}, c.stamp));
    const struct stat found = unpacked(image, "home/app");
    EXPECT_EQ(found.st_uid, c.uid);
    EXPECT_EQ(found.st_gid, c.gid);
    EXPECT_EQ(found.st_mtime, c.time);
    ASSERT_TRUE(make_erofs(tree, image.string() + "2", Compression::kNone, {}, c.stamp));
    EXPECT_EQ(*sha256_file(image), *sha256_file(image.string() + "2"));
  }
}

TEST(ErofsTest, AnImageCutAnywhereIsRefused) {
  const Scratch scratch;
  const fs::path file = sound_image(scratch);
  ASSERT_TRUE(check_erofs_file(file));
  const auto whole = static_cast<off_t>(fs::file_size(file));
  for (const off_t size : {whole - 1, whole / 2, off_t{4096}, off_t{1100}, off_t{1024}, off_t{0}}) {
    ASSERT_EQ(::truncate(file.c_str(), size), 0);
    EXPECT_FALSE(check_erofs_file(file)) << size;
  }
}

TEST(ErofsTest, SaysThatACutImageIsCut) {
  const Scratch scratch;
  const fs::path file = sound_image(scratch);
  ASSERT_EQ(::truncate(file.c_str(), 8192), 0);
  EXPECT_NE(message_of(check_erofs_file(file)).find("cut short"), std::string::npos);
}

TEST(ErofsTest, GarbageIsNotAnErofsImage) {
  const Scratch scratch;
  std::mt19937 random(7);
  for (const std::size_t size : {0U, 1U, 1024U, 1151U, 1152U, 65536U}) {
    std::string bytes(size, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    const fs::path file = scratch.add("garbage", bytes);
    EXPECT_NE(message_of(check_erofs_file(file)).find("not an erofs image"), std::string::npos);
  }
}

TEST(ErofsTest, LyingSuperblocksAreRefused) {
  const Scratch scratch;
  const std::string sound = *read_file(sound_image(scratch));
  auto with = [&](std::size_t offset, std::string bytes) {
    std::string changed = sound;
    changed.replace(1024 + offset, bytes.size(), bytes);
    return scratch.add("lying.erofs", changed);
  };
  EXPECT_FALSE(check_erofs_file(with(12, std::string(1, '\x00')))) << "block size of one byte";
  EXPECT_FALSE(check_erofs_file(with(12, std::string(1, '\xff')))) << "shift by 255";
  EXPECT_FALSE(check_erofs_file(with(36, std::string(4, '\xff')))) << "16 TiB of blocks";
  EXPECT_FALSE(check_erofs_file(with(36, std::string(4, '\x00')))) << "no blocks";
}

TEST(ErofsTest, DirectoriesPipesAndMissingFilesAreRefusedWithoutWaiting) {
  const Scratch scratch;
  EXPECT_FALSE(check_erofs_file(scratch.path()));
  EXPECT_FALSE(check_erofs_file(scratch.path() / "missing"));
  ASSERT_EQ(::mkfifo((scratch.path() / "pipe").c_str(), 0600), 0);
  EXPECT_FALSE(check_erofs_file(scratch.path() / "pipe"));
}

}  // namespace
}  // namespace thimble::image

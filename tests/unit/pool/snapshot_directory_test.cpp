// The folder of a snapshot while it is written: whole under its name, or nothing stays.
#include "pool/template/snapshot_directory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>

namespace thimble {
namespace {

namespace fs = std::filesystem;

class SnapshotFolder : public testing::Test {
 protected:
  SnapshotFolder() {
    std::string name = fs::temp_directory_path() / "snapshots-XXXXXX";
    root_ = ::mkdtemp(name.data());
  }
  ~SnapshotFolder() override { fs::remove_all(root_); }

  // As a save leaves it that is killed.
  fs::path abandon(const std::string& name) {
    const fs::path folder = root_ / name;
    fs::create_directory(folder);
    std::ofstream(folder / "state") << "half";
    std::ofstream(folder / "memory") << "made";
    return folder;
  }
  std::set<std::string> names() {
    std::set<std::string> all;
    for (const auto& entry : fs::directory_iterator(root_)) all.insert(entry.path().filename());
    return all;
  }

  fs::path root_;
};

using Names = std::set<std::string>;

TEST_F(SnapshotFolder, HasItsNameOnceItIsCommitted) {
  auto writer = SnapshotWriter::create(root_ / "one");
  ASSERT_TRUE(writer) << writer.error().message;
  EXPECT_FALSE(names().contains("one"));
  ASSERT_TRUE(writer->commit());
  EXPECT_EQ(names(), Names{"one"});
  EXPECT_FALSE(SnapshotWriter::create(root_ / "one")) << "nothing is written over";
}

TEST_F(SnapshotFolder, LeavesNothingWithoutACommit) {
  {
    auto writer = SnapshotWriter::create(root_ / "one").value();
  }
  EXPECT_EQ(names(), Names{});
}

TEST_F(SnapshotFolder, ReplacesWhatAKilledSaveLeft) {
  abandon("one.partial-1");
  abandon("one.partial-" + std::to_string(::getpid()));
  auto writer = SnapshotWriter::create(root_ / "one");
  ASSERT_TRUE(writer) << writer.error().message;
  ASSERT_TRUE(writer->commit());
  EXPECT_EQ(names(), Names{"one"});
}

TEST_F(SnapshotFolder, LeavesOneAloneThatIsBeingWritten) {
  const Fd other(::open(abandon("one.partial-1").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ASSERT_EQ(::flock(other.get(), LOCK_EX | LOCK_NB), 0);
  ASSERT_TRUE(SnapshotWriter::create(root_ / "one").value().commit());
  EXPECT_EQ(names(), (Names{"one", "one.partial-1"}));
}

TEST_F(SnapshotFolder, HoldsTheLockByWhichOthersKnowIt) {
  auto writer = SnapshotWriter::create(root_ / "one");
  ASSERT_TRUE(writer);
  const std::string partial = root_ / ("one.partial-" + std::to_string(::getpid()));
  const Fd folder(::open(partial.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  EXPECT_NE(::flock(folder.get(), LOCK_EX | LOCK_NB), 0);
}

TEST_F(SnapshotFolder, RemovesNothingElse) {
  const Names others{"two.partial-1", "one.partial-", "one.partial-x", "one.partial-1x"};
  for (const std::string& name : others) abandon(name);
  std::ofstream(abandon("one.partial-2") / "mine") << "of somebody";
  fs::create_directory_symlink(root_ / "two.partial-1", root_ / "one.partial-3");
  {
    auto writer = SnapshotWriter::create(root_ / "one").value();
  }
  Names expected = others;
  expected.insert({"one.partial-2", "one.partial-3"});
  EXPECT_EQ(names(), expected);
  EXPECT_TRUE(fs::exists(root_ / "one.partial-2" / "mine"));
  EXPECT_TRUE(fs::exists(root_ / "two.partial-1" / "memory"));
}

// ---- what others have put there. The files are no snapshot: each is refused, with its own reason.

TEST_F(SnapshotFolder, OfAnotherUserIsRefusedAndSaysWhose) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to make a folder of somebody else";
  ASSERT_TRUE(SnapshotWriter::create(root_ / "one").value().commit());
  ASSERT_EQ(::chown((root_ / "one").c_str(), 4321, 4321), 0);
  const auto opened = open_snapshot(root_ / "one");
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find("belongs to user 4321, not to you: copy it"),
            std::string::npos)
      << opened.error().message;
}

TEST_F(SnapshotFolder, ThatOthersMayWriteToIsRefusedWithTheMend) {
  ASSERT_TRUE(SnapshotWriter::create(root_ / "one").value().commit());
  fs::permissions(root_ / "one", fs::perms::all);
  const auto opened = open_snapshot(root_ / "one");
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find("chmod go-w"), std::string::npos);
}

TEST_F(SnapshotFolder, IsNotReadThroughLinksOrWaitedFor) {
  for (const char* part : {"state", "memory"}) {
    for (const bool fifo : {false, true}) {
      ASSERT_TRUE(SnapshotWriter::create(root_ / "one").value().commit());
      const fs::path at = root_ / "one" / part;
      fs::rename(at, root_ / "elsewhere");
      fifo ? (void)::mkfifo(at.c_str(), 0600) : fs::create_symlink(root_ / "elsewhere", at);
      const auto opened = open_snapshot(root_ / "one");
      ASSERT_FALSE(opened);
      EXPECT_NE(opened.error().message.find(at.string()), std::string::npos)
          << opened.error().message;
      fs::remove_all(root_ / "one");
    }
  }
}

// A folder that has a partial one's name: of another user, or with links in it.
TEST_F(SnapshotFolder, RemovesNothingThroughWhatIsNotOurs) {
  std::ofstream(root_ / "canary") << "safe";
  fs::create_directory(root_ / "mine");
  std::ofstream(root_ / "mine/state") << "safe";
  const fs::path linked = abandon("one.partial-1");
  fs::remove(linked / "state");
  fs::create_symlink(root_ / "canary", linked / "state");
  if (::geteuid() == 0) {
    ASSERT_EQ(::chown(abandon("one.partial-2").c_str(), 4321, 4321), 0);
  }
  fs::create_directory_symlink(root_ / "mine", root_ / "one.partial-3");
  ASSERT_TRUE(SnapshotWriter::create(root_ / "one").value().commit());
  EXPECT_FALSE(fs::exists(linked));
  EXPECT_TRUE(fs::exists(root_ / "mine/state"));
  EXPECT_EQ(fs::file_size(root_ / "canary"), 4U);
  EXPECT_EQ(fs::exists(root_ / "one.partial-2/state"), ::geteuid() == 0);
}

}  // namespace
}  // namespace thimble

// Whatever a name says, nothing outside the folder is read or written.
#include "tools/image/beneath.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/image/scratch.h"

namespace thimble::image {
namespace {

namespace fs = std::filesystem;

class BeneathTest : public testing::Test {
 protected:
  BeneathTest() {
    secret_ = scratch_.add("secret.json", "secret");
    scratch_.add("inside/a/file.js", "file");
    folder_ = std::make_unique<Folder>(*Folder::open(inside()));
  }

  fs::path inside() const { return scratch_.path() / "inside"; }
  void link(const std::string& target, const std::string& name) const {
    ASSERT_EQ(::symlink(target.c_str(), (inside() / name).c_str()), 0);
  }
  // The names by which a stranger may mean the secret.
  std::vector<std::string> ways_out() const {
    link("..", "up");
    link(secret_.string(), "absolute.json");
    link("../secret.json", "relative.json");
    link("a", "b");
    return {"../secret.json", "a/../../secret.json", secret_.string(), "up/secret.json",
            "absolute.json",  "relative.json",       "b/file.js"};
  }

  Scratch scratch_;
  fs::path secret_;
  std::unique_ptr<Folder> folder_;
};

TEST_F(BeneathTest, FilesInsideAreReadAndReplaced) {
  EXPECT_EQ(*folder_->read("a/file.js"), "file");
  ASSERT_TRUE(folder_->replace("a/file.js", "other"));
  EXPECT_EQ(*folder_->read("a/file.js"), "other");
  ASSERT_TRUE(folder_->replace("new", "text"));
  EXPECT_EQ(*folder_->read("new"), "text");
  EXPECT_FALSE(folder_->read("missing"));
  EXPECT_FALSE(folder_->replace("missing/file", "x"));
  EXPECT_FALSE(folder_->read("a/file.js", 4));
}

TEST_F(BeneathTest, NothingOutsideIsRead) {
  for (const std::string& name : ways_out()) EXPECT_FALSE(folder_->read(name)) << name;
}

TEST_F(BeneathTest, NothingOutsideIsWritten) {
  for (const std::string& name : ways_out()) {
    if (name.ends_with(".json") && name.find('/') == std::string::npos) continue;  // see below
    EXPECT_FALSE(folder_->replace(name, "rewritten")) << name;
  }
  for (const char* name : {"..", ".", "", "a/..", "a/."}) {
    EXPECT_FALSE(folder_->replace(name, "rewritten")) << name;
  }
  EXPECT_EQ(*read_file(secret_), "secret");
  EXPECT_EQ(*read_file(inside() / "a/file.js"), "file");
}

TEST_F(BeneathTest, ALinkIsReplacedAndNotFollowed) {
  ways_out();
  ASSERT_TRUE(folder_->replace("absolute.json", "mine"));
  EXPECT_EQ(*folder_->read("absolute.json"), "mine");
  EXPECT_EQ(*read_file(secret_), "secret");
}

TEST_F(BeneathTest, AHardLinkKeepsWhatItWas) {
  fs::create_hard_link(secret_, inside() / "hard");
  ASSERT_TRUE(folder_->replace("hard", "mine"));
  EXPECT_EQ(*read_file(secret_), "secret");
}

TEST_F(BeneathTest, AModeIsSetOfFilesInsideOnly) {
  ::chmod(secret_.c_str(), 0600);
  for (const std::string& name : ways_out()) EXPECT_FALSE(folder_->set_mode(name, 0755)) << name;
  EXPECT_FALSE(folder_->set_mode("a", 0700)) << "a folder";
  ASSERT_TRUE(folder_->set_mode("a/file.js", 0755));
  struct stat status{};
  ASSERT_EQ(::stat(secret_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600U);
}

TEST_F(BeneathTest, AFifoIsNotWaitedFor) {
  ASSERT_EQ(::mkfifo((inside() / "fifo").c_str(), 0600), 0);
  EXPECT_FALSE(folder_->read("fifo"));
}

TEST_F(BeneathTest, AZeroByteIsNoPartOfAName) {
  EXPECT_FALSE(folder_->read(std::string("a/file.js\0x", 11)));
  EXPECT_FALSE(folder_->replace(std::string("a/file.js\0x", 11), "x"));
}

}  // namespace
}  // namespace thimble::image

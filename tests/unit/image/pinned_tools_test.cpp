// The cache's pinned tools, with folders and files in it that are not ours.
#include "tools/image/pinned_tools.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/image/scratch.h"

namespace thimble::image {
namespace {

namespace fs = std::filesystem;

constexpr uid_t kOther = 4321;

class PinnedToolsTest : public testing::Test {
 protected:
  PinnedToolsTest() {
    fs::create_directories(kept().parent_path());
    fs::create_directory(work());
    fs::create_directory(elsewhere());
    scratch_.add("fetched/node", "fetched");
    fs::permissions(cache(), fs::perms(0755));
  }

  fs::path cache() const { return scratch_.path() / "cache"; }
  fs::path pinned() const { return cache() / "npm/pinned"; }
  fs::path kept() const { return pinned_place(cache(), kNode); }
  fs::path work() const { return scratch_.path() / "work"; }
  fs::path elsewhere() const { return scratch_.path() / "elsewhere"; }
  static fs::perms mode_of(const fs::path& path) { return fs::status(path).permissions(); }

  Result<void> keep() const {
    const Result<PinnedTools> tools = PinnedTools::open(cache());
    if (!tools) return std::unexpected(tools.error());
    return tools->keep(kNode, scratch_.path() / "fetched", work());
  }
  void expect_refused(const std::string& words, const fs::path& what) const {
    const Result<void> done = keep();
    ASSERT_FALSE(done) << what;
    for (const std::string& part : {words, what.string()}) {
      EXPECT_NE(done.error().message.find(part), std::string::npos) << done.error().message;
    }
  }

  Scratch scratch_;
};

TEST_F(PinnedToolsTest, AKeptToolCanBeReadByAJailWhateverTheUmask) {
  fs::remove_all(cache());
  const mode_t before = ::umask(077);
  const Result<void> done = keep();
  ::umask(before);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(*read_file(kept()), "fetched");
  for (const fs::path& part : {kept(), kept().parent_path(), pinned()}) {
    EXPECT_EQ(mode_of(part), fs::perms(0755)) << part;
  }
}

TEST_F(PinnedToolsTest, WhatAKilledBuilderOfOurNumberLeftIsInNobodysWay) {
  scratch_.add("work/kept-node", "cut");
  fs::copy(work() / "kept-node", kept().string() + "." + std::to_string(::getpid()));
  ASSERT_TRUE(keep());
  ASSERT_TRUE(keep()) << "again";
  EXPECT_EQ(*read_file(kept()), "fetched");
  EXPECT_TRUE(fs::is_empty(work()));
}

TEST_F(PinnedToolsTest, ALinkOnTheWayIsRefusedAndNothingIsWrittenThroughIt) {
  scratch_.add("elsewhere/canary", "safe");
  for (const fs::path& part : {kept(), kept().parent_path(), pinned(), cache() / "npm"}) {
    fs::remove_all(part);
    fs::create_symlink(elsewhere(), part);
    expect_refused("remove the link", part);
    EXPECT_EQ(list_directory(elsewhere()).size(), 1U) << part;
  }
}

TEST_F(PinnedToolsTest, WhatAnotherUserOwnsIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to make files of somebody else";
  ASSERT_TRUE(keep());
  for (const fs::path& part : {kept(), kept().parent_path(), pinned(), cache() / "npm", cache()}) {
    ASSERT_EQ(::chown(part.c_str(), kOther, kOther), 0);
    expect_refused("belongs to user 4321", part);
    ASSERT_EQ(::chown(part.c_str(), 0, 0), 0);
  }
  EXPECT_TRUE(keep());
}

TEST_F(PinnedToolsTest, WhatOthersMayWriteToIsRefusedWithTheMendUnlessTheyCannotEnter) {
  ASSERT_TRUE(keep());
  for (const fs::path& part : {kept(), kept().parent_path(), pinned(), cache() / "npm"}) {
    fs::permissions(part, fs::perms(0775));
    expect_refused("chmod go-w", part);
    fs::permissions(cache(), fs::perms(0700));
    EXPECT_TRUE(keep()) << part;
    fs::permissions(cache(), fs::perms(0755));
    fs::permissions(part, fs::perms(0755));
  }
  fs::permissions(cache(), fs::perms(01777));
  expect_refused("chmod go-w", cache());
}

}  // namespace
}  // namespace thimble::image

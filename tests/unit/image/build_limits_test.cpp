// Limits of a build: reading them, seeing them exceeded, and removing what somebody piled up.
#include "tools/image/jail/limits.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "tests/unit/image/scratch.h"
#include "tools/image/jail/usage.h"

namespace thimble::image {
namespace {

namespace fs = std::filesystem;

TEST(BuildLimitsTest, TheEnvironmentSetsThem) {
  ::setenv("THIMBLE_BUILD_SECONDS", "7", 1);
  ::setenv("THIMBLE_BUILD_MIB", "3", 1);
  ::setenv("THIMBLE_BUILD_FILES", "12", 1);
  const Result<BuildLimits> limits = build_limits();
  ASSERT_TRUE(limits);
  EXPECT_EQ(limits->time.count(), 7);
  EXPECT_EQ(limits->bytes, 3U << 20);
  EXPECT_EQ(limits->files, 12U);
  for (const char* wrong : {"0", "-1", "1.5", "1G", "x", "99999999999999999999"}) {
    ::setenv("THIMBLE_BUILD_FILES", wrong, 1);
    EXPECT_FALSE(build_limits()) << wrong;
  }
  for (const char* name : {"THIMBLE_BUILD_SECONDS", "THIMBLE_BUILD_MIB", "THIMBLE_BUILD_FILES"}) {
    ::unsetenv(name);
  }
  EXPECT_TRUE(build_limits());
}

TEST(UsageTest, CountsFilesAndBlocksWithoutFollowingLinks) {
  const Scratch scratch;
  scratch.add("in/a/one", std::string(10'000, 'x'));
  scratch.add("out/large", std::string(1 << 20, 'x'));
  fs::create_hard_link(scratch.path() / "in/a/one", scratch.path() / "in/two");
  fs::create_symlink("../out", scratch.path() / "in/link");
  const Usage usage = measure(scratch.path() / "in", {});
  EXPECT_EQ(usage.files, 4U);
  EXPECT_GE(usage.bytes, 10'000U);
  EXPECT_LT(usage.bytes, 100'000U);
  EXPECT_FALSE(usage.exceeds({}));
}

TEST(UsageTest, SeesEachLimitExceeded) {
  const Scratch scratch;
  for (int n = 0; n < 20; ++n) scratch.add("d/" + std::to_string(n), std::string(5000, 'x'));
  BuildLimits limits;
  limits.files = 10;
  EXPECT_TRUE(measure(scratch.path(), limits).exceeds(limits));
  limits = {};
  limits.bytes = 20'000;
  EXPECT_TRUE(measure(scratch.path(), limits).exceeds(limits));
}

// Folders in folders, deeper than a path can say.
void dig(const fs::path& top, int levels) {
  int at = ::open(top.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::string name(200, 'd');
  for (int level = 0; level < levels; ++level) {
    ASSERT_EQ(::mkdirat(at, name.c_str(), 0700), 0);
    const int below = ::openat(at, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ::close(at);
    at = below;
  }
  const int file = ::openat(at, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  ::close(file);
  ::fchmod(at, 0);
  ::close(at);
}

TEST(RemoveTreeTest, DepthDoesNotStopIt) {
  const Scratch scratch;
  const fs::path top = scratch.path() / "top";
  ASSERT_TRUE(make_directories(top));
  dig(top, 450);
  EXPECT_TRUE(measure(top, {}).too_deep);
  remove_tree(top);
  EXPECT_FALSE(fs::exists(fs::symlink_status(top)));
}

TEST(RemoveTreeTest, ClosedFoldersGoAndTargetsOfLinksStay) {
  const Scratch scratch;
  const fs::path kept = scratch.add("kept/file");
  scratch.add("top/closed/file");
  fs::create_symlink(scratch.path() / "kept", scratch.path() / "top/link");
  ::chmod((scratch.path() / "top/closed").c_str(), 0);
  ::chmod((scratch.path() / "top").c_str(), 0500);
  remove_tree(scratch.path() / "top");
  EXPECT_FALSE(fs::exists(scratch.path() / "top"));
  EXPECT_TRUE(fs::exists(kept));
  fs::create_symlink(scratch.path() / "kept", scratch.path() / "link");
  remove_tree(scratch.path() / "link");
  EXPECT_TRUE(fs::exists(kept));
  remove_tree(scratch.path() / "missing");
}

}  // namespace
}  // namespace thimble::image

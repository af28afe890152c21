// The kernel of the cache: one that another user could have put there is none.
#include "pool/launch/guest_files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace thimble::launch {
namespace {

namespace fs = std::filesystem;

constexpr uid_t kSomebody = 4321;

class CachedKernelTest : public testing::Test {
 protected:
  CachedKernelTest() {
    std::string path = testing::TempDir() + "thimble-kernel-XXXXXX";
    cache_ = ::mkdtemp(path.data());
    ::setenv("THIMBLE_CACHE", cache_.c_str(), 1);
    ::unsetenv("THIMBLE_KERNEL");
  }
  ~CachedKernelTest() override {
    ::unsetenv("THIMBLE_CACHE");
    fs::remove_all(cache_);
  }

  fs::path kernel(const std::string& name) const { return cache_ / "kernel" / name / "vmlinux"; }
  void make_kernel(const std::string& name) const {
    fs::create_directories(kernel(name).parent_path());
    std::ofstream(kernel(name)) << "kernel";
  }
  static std::string why_not() {
    const auto found = find_kernel("");
    return found ? "found " + found->string() : found.error().message;
  }

  fs::path cache_;
};

TEST_F(CachedKernelTest, TheCurrentOneIsFoundAndElseTheNewest) {
  EXPECT_NE(why_not().find("tools/kernel build"), std::string::npos) << why_not();
  make_kernel("old");
  make_kernel("new");
  fs::last_write_time(kernel("old"), fs::file_time_type::clock::now() - std::chrono::hours(1));
  EXPECT_EQ(find_kernel("").value_or(""), kernel("new"));
  fs::create_symlink("old", cache_ / "kernel" / "current");
  EXPECT_EQ(find_kernel("").value_or(""), kernel("old"));
}

TEST_F(CachedKernelTest, ALinkOrAFifoInItsPlaceIsRefused) {
  make_kernel("real");
  fs::create_directories(kernel("fifo").parent_path());
  ASSERT_EQ(::mkfifo(kernel("fifo").c_str(), 0600), 0);
  fs::create_symlink("fifo", cache_ / "kernel" / "current");
  EXPECT_NE(why_not().find("it is no file"), std::string::npos) << why_not();
  fs::remove(cache_ / "kernel" / "current");
  fs::create_directories(kernel("link").parent_path());
  fs::create_symlink(kernel("real"), kernel("link"));
  fs::create_symlink("link", cache_ / "kernel" / "current");
  EXPECT_EQ(why_not().find("found"), std::string::npos) << why_not();
  fs::remove(cache_ / "kernel" / "current");
  fs::create_symlink("../..", cache_ / "kernel" / "current");
  EXPECT_EQ(why_not().find("found"), std::string::npos) << why_not();
}

TEST_F(CachedKernelTest, WhatOthersMayHavePutThereIsRefused) {
  make_kernel("k");
  fs::permissions(kernel("k").parent_path(), fs::perms::all);
  EXPECT_EQ(why_not().find("found"), std::string::npos) << why_not();
  fs::permissions(kernel("k").parent_path(), fs::perms::owner_all);
  EXPECT_EQ(find_kernel("").value_or(""), kernel("k"));
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file to another user";
  ASSERT_EQ(::chown(kernel("k").c_str(), kSomebody, kSomebody), 0);
  fs::create_symlink("k", cache_ / "kernel" / "current");
  EXPECT_NE(why_not().find("belongs to user 4321"), std::string::npos) << why_not();
  ASSERT_EQ(::chown(kernel("k").c_str(), 0, 0), 0);
  ASSERT_EQ(::chown((cache_ / "kernel").c_str(), kSomebody, kSomebody), 0);
  EXPECT_NE(why_not().find("belongs to user 4321"), std::string::npos) << why_not();
}

TEST_F(CachedKernelTest, AnInstalledOneComesFirst) {
  make_kernel("cached");
  const fs::path program = cache_ / "prefix" / "bin" / "thimble";
  EXPECT_EQ(find_kernel("", program).value_or(""), kernel("cached"));
  const fs::path installed = cache_ / "prefix" / "lib" / "thimble" / "vmlinux";
  fs::create_directories(installed.parent_path());
  EXPECT_EQ(find_kernel("", program).value_or(""), kernel("cached"));
  std::ofstream(installed) << "kernel";
  EXPECT_EQ(find_kernel("", program).value_or(""), installed);
  ::setenv("THIMBLE_KERNEL", kernel("cached").c_str(), 1);
  EXPECT_EQ(find_kernel("", program).value_or(""), kernel("cached"));
  ::unsetenv("THIMBLE_KERNEL");
  fs::permissions(installed.parent_path(), fs::perms::all);
  const auto found = find_kernel("", program);
  ASSERT_FALSE(found) << *found;
  EXPECT_NE(found.error().message.find("others may write"), std::string::npos)
      << found.error().message;
}

}  // namespace
}  // namespace thimble::launch

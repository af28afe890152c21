// What --disk takes: who may have a file at the same time, and what is no disk.
#include "tools/cli/disk_option.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace thimble::cli {
namespace {

namespace fs = std::filesystem;

class DiskOption : public testing::Test {
 protected:
  DiskOption() {
    folder_ = testing::TempDir() + "disk_option." + std::to_string(::getpid());
    fs::create_directory(folder_);
    std::ofstream(disk()) << std::string(4096, 'd');
  }
  ~DiskOption() override { fs::remove_all(folder_); }
  [[nodiscard]] std::string disk() const { return folder_ + "/disk"; }
  static std::string refusal(const std::string& option) {
    const auto opened = open_disk(option);
    return opened ? "" : opened.error().message;
  }

  std::string folder_;
};

TEST_F(DiskOption, IsReadOnlyUnlessItSaysOtherwise) {
  EXPECT_TRUE(open_disk(disk())->read_only);
  EXPECT_TRUE(open_disk(disk() + ":ro")->read_only);
  const auto writable = open_disk(disk() + ":rw");
  ASSERT_TRUE(writable) << writable.error().message;
  EXPECT_FALSE(writable->read_only);
  EXPECT_EQ(writable->name, "disk");
  EXPECT_EQ(::fcntl(writable->file.get(), F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDWR);
}

TEST_F(DiskOption, AWriterIsAlone) {
  {
    const auto writer = open_disk(disk() + ":rw");
    ASSERT_TRUE(writer);
    EXPECT_NE(refusal(disk() + ":rw").find("another VM uses it"), std::string::npos);
    EXPECT_NE(refusal(disk()).find("a VM writes to it"), std::string::npos);
  }
  EXPECT_EQ(refusal(disk() + ":rw"), "") << "it is free again";
}

TEST_F(DiskOption, ReadersShareAndKeepWritersOut) {
  const auto first = open_disk(disk());
  const auto second = open_disk(disk());
  ASSERT_TRUE(first);
  ASSERT_TRUE(second);
  EXPECT_NE(refusal(disk() + ":rw"), "");
}

TEST_F(DiskOption, StaysLockedAsLongAsTheVmsProcessHasIt) {
  auto writer = open_disk(disk() + ":rw");
  ASSERT_TRUE(writer);
  int ends[2] = {-1, -1};
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t vm = ::fork();
  if (vm == 0) {
    char byte = 0;
    ::close(ends[1]);
    (void)!::read(ends[0], &byte, 1);
    ::_exit(0);
  }
  writer->file.reset();
  EXPECT_NE(refusal(disk() + ":rw"), "");
  ::close(ends[1]);
  ::waitpid(vm, nullptr, 0);
  ::close(ends[0]);
  EXPECT_EQ(refusal(disk() + ":rw"), "");
}

TEST_F(DiskOption, WhatIsNoDiskIsRefusedAtOnce) {
  const std::string fifo = folder_ + "/fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  for (const std::string& file : {fifo, folder_, std::string("/dev/null")}) {
    for (const char* access : {"", ":ro", ":rw"}) {
      EXPECT_NE(refusal(file + access), "") << file << access;
    }
  }
  EXPECT_NE(refusal(fifo).find("not a regular file or block device"), std::string::npos);
  EXPECT_NE(refusal(fifo + ":rw").find("not a regular file or block device"), std::string::npos);
  EXPECT_NE(refusal(folder_ + "/none").find("No such file"), std::string::npos);
}

}  // namespace
}  // namespace thimble::cli

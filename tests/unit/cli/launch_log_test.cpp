// A log whose disk is full for a while: the file may not grow (RLIMIT_FSIZE), which is told alike.
#include "tools/cli/launch_log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace thimble::cli {
namespace {

namespace fs = std::filesystem;

class LaunchLogTest : public testing::Test {
 protected:
  LaunchLogTest() : path_(testing::TempDir() + "launch_log." + std::to_string(::getpid())) {
    ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
  }
  ~LaunchLogTest() override {
    let_grow(before_.rlim_cur);
    fs::remove(path_);
    fs::remove(path_ + ".1");
  }
  void let_grow(rlim_t max) const {
    const rlimit limit{max, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  [[nodiscard]] std::string read(const std::string& suffix = "") const {
    std::ostringstream all;
    all << std::ifstream(path_ + suffix).rdbuf();
    return all.str();
  }

  std::string path_;
  std::function<Fd()> open_ = [this] {
    return Fd(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  };
  rlimit before_{};
};

TEST_F(LaunchLogTest, SaysOnceHowMuchWasLostWhenItCanBeWrittenAgain) {
  LaunchLog log(path_, open_);
  log.write("one\n");
  let_grow(8);
  log.write("two, too long\n");
  log.write("three\n");
  EXPECT_EQ(read(), "one\ntwo,");
  let_grow(before_.rlim_cur);
  log.write("four\n");
  log.write("five\n");
  EXPECT_EQ(
      read(),
      "one\ntwo,\nthimble: File too large: 16 bytes of this log were lost here\nfour\nfive\n");
}

TEST_F(LaunchLogTest, ItsOwnLineIsWholeOrNotThere) {
  LaunchLog log(path_, open_);
  let_grow(4);
  log.write("one\ntwo\n");
  let_grow(20);
  log.write("three\n");
  EXPECT_EQ(read(), "one\n");
  let_grow(before_.rlim_cur);
  log.write("four\n");
  EXPECT_EQ(read(), "one\n\nthimble: File too large: 10 bytes of this log were lost here\nfour\n");
}

TEST_F(LaunchLogTest, BeginsAnewWhenItIsLong) {
  LaunchLog log(path_, open_);
  const std::string much(static_cast<size_t>(LaunchLog::kMaxBytes) + 1, 'x');
  log.write(much);
  log.write("new\n");
  EXPECT_EQ(read(), "new\n");
  EXPECT_EQ(read(".1"), much);
}

}  // namespace
}  // namespace thimble::cli

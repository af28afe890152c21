// The remembered answer to "can this host run Linux": asked once per boot, and never believed when
// it is somebody else's or damaged.
#include "tools/doctor/linux_verdict.h"

#include <cpuid.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>

#include "tests/unit/doctor/fake_host.h"

namespace thimble::doctor {
namespace {

using test::FakeHost;

struct Script {
  int asked = 0;
  bool can = true;
  bool certain = true;
};

// A function without a closure stands for the probe, so what it says is kept here.
Script& script() {
  static Script the_script;
  return the_script;
}

HostProbe answer(const ProbeOptions& options) {
  EXPECT_TRUE(options.only_syscall);
  ++script().asked;
  HostProbe probe;
  probe.can_run_linux = script().can;
  probe.certain = script().certain;
  probe.reason = "because";
  return probe;
}

class LinuxVerdictTest : public testing::Test {
 protected:
  LinuxVerdictTest() { script() = {}; }
  void SetUp() override {
    if (access("/dev/kvm", R_OK | W_OK) != 0) GTEST_SKIP() << "no /dev/kvm to try";
  }
  Result<void> ask() { return linux_verdict(cache_, "/dev/kvm", answer); }

  FakeHost host_;
  std::filesystem::path cache_ = host_.root() / "cache";
};

TEST_F(LinuxVerdictTest, YesIsAskedOnce) {
  EXPECT_TRUE(ask());
  EXPECT_TRUE(ask());
  EXPECT_EQ(script().asked, 1);
}

TEST_F(LinuxVerdictTest, NoIsAskedOnceAndSaysTheSameEachTime) {
  script().can = false;
  const auto first = ask();
  const auto second = ask();
  ASSERT_FALSE(first);
  ASSERT_FALSE(second);
  EXPECT_EQ(script().asked, 1);
  EXPECT_EQ(first.error().message, second.error().message);
  const std::string& line = first.error().message;
  EXPECT_EQ(line.find('\n'), std::string::npos);
  EXPECT_NE(line.find("because"), std::string::npos);
  EXPECT_NE(line.find("tools/lab run --"), std::string::npos);
  EXPECT_NE(line.find("thimble doctor"), std::string::npos);
}

TEST_F(LinuxVerdictTest, UncertainAnswerIsNotRemembered) {
  script() = {.asked = 0, .can = false, .certain = false};
  EXPECT_FALSE(ask());
  script().can = script().certain = true;
  EXPECT_TRUE(ask());
  EXPECT_EQ(script().asked, 2);
}

TEST_F(LinuxVerdictTest, AnswerOfAnotherBootOrADamagedOneIsAskedAnew) {
  const std::string key = host_key("/dev/kvm");
  ASSERT_FALSE(key.empty());
  script().can = false;
  int asked = 0;
  for (const std::string& stored :
       {std::string("another boot\ncan run Linux\n"), std::string(), std::string("\n\n\n"),
        key.substr(0, key.size() - 1), std::string(100'000, 'x')}) {
    host_.write("cache/host/linux-verdict", stored);
    EXPECT_FALSE(ask());
    EXPECT_EQ(script().asked, ++asked);
  }
}

// Not what /proc/cpuinfo has: under some hypervisors the kernel gives it another name.
TEST(HostKey, NamesTheProcessor) {
  std::array<char, 17> begin{};  // of its name, as CPUID gives it
  std::array<unsigned, 4> part{};
  ASSERT_NE(__get_cpuid(0x80000002, &part[0], &part[1], &part[2], &part[3]), 0);
  std::memcpy(begin.data(), part.data(), sizeof part);
  ASSERT_NE(std::string(begin.data()), "");
  const std::string key = host_key("/dev/null");  // any device
  EXPECT_NE(key.find(begin.data()), std::string::npos) << key;
}

TEST_F(LinuxVerdictTest, CacheThatCannotBeWrittenOnlyCostsTheQuestion) {
  host_.write("cache", "a file, not a folder");
  EXPECT_TRUE(ask());
  EXPECT_TRUE(ask());
  EXPECT_EQ(script().asked, 2);
  EXPECT_TRUE(linux_verdict({}, "/dev/kvm", answer));
}

TEST_F(LinuxVerdictTest, NothingIsLeftInTheCacheButTheAnswer) {
  EXPECT_TRUE(ask());
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(cache_)) {
    if (entry.is_regular_file()) ++files;
  }
  EXPECT_EQ(files, 1);
}

TEST(LinuxVerdictOpenTest, DeviceThatCannotBeOpenedIsRefusedWithoutAsking) {
  script() = {};
  const auto refused = linux_verdict({}, "/nonexistent/kvm", answer);
  ASSERT_FALSE(refused);
  EXPECT_EQ(script().asked, 0);
  EXPECT_NE(refused.error().message.find("open /nonexistent/kvm"), std::string::npos);
  EXPECT_NE(refused.error().message.find("tools/lab run --"), std::string::npos);
  EXPECT_EQ(host_key("/nonexistent/kvm"), "");
}

}  // namespace
}  // namespace thimble::doctor

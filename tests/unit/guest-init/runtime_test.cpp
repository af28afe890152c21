// Which processes are taken for runtimes whose random numbers are reseeded in a clone.
#include "guest-init/runtime.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace thimble::init {
namespace {

Bytes bytes(const std::string& text) { return {text.data(), text.size()}; }

const std::string kUrgent = "Name:\tx\nState:\tS (sleeping)\nSigCgt:\t0000000000400002\n";
const std::string kNotUrgent = "Name:\tx\nState:\tS (sleeping)\nSigCgt:\t0000000000800002\n";

bool reseeded(const std::string& executable, const std::string& status, bool marked = false) {
  return is_reseeded({bytes(executable), bytes(status), marked});
}

TEST(Runtime, PythonIsReseededWhileItsHandlerIsInPlace) {
  EXPECT_TRUE(reseeded("/usr/bin/python3.11", kUrgent));
  EXPECT_TRUE(reseeded("/usr/bin/python3", kUrgent));
  EXPECT_FALSE(reseeded("/usr/bin/python3.11", kNotUrgent));  // python3 -S, or a handler taken away
  EXPECT_FALSE(reseeded("/usr/bin/python3.11", ""));
}

TEST(Runtime, AGoProgramCatchesTheSameSignalAndIsNone) {
  EXPECT_FALSE(reseeded("/usr/bin/go-server", kUrgent));
  EXPECT_FALSE(reseeded("/usr/bin/python3-config", kUrgent));
  EXPECT_FALSE(reseeded("/usr/bin/mypython3", kUrgent));
  EXPECT_FALSE(reseeded("/usr/bin/python3.11 (deleted)", kUrgent));
  EXPECT_FALSE(reseeded("python3", kUrgent));
  EXPECT_FALSE(reseeded("", kUrgent));
}

TEST(Runtime, NodeIsKnownByItsMarkOnly) {
  EXPECT_TRUE(reseeded("/usr/bin/node", kNotUrgent, true));
  EXPECT_FALSE(reseeded("/usr/bin/node", kNotUrgent));  // node with an environment of its own
  EXPECT_FALSE(reseeded("/usr/bin/busybox", kNotUrgent));
}

TEST(Runtime, TheMarkIsTheSecondPageOfTheGenerationFile) {
  const std::string range = "7f0c3a2f1000-7f0c3a2f2000 r--s ";
  const std::string file = " 00:15 12                         /run/thimble/generation";
  EXPECT_TRUE(has_reseed_mark(bytes(range + "00001000" + file)));
  EXPECT_FALSE(has_reseed_mark(bytes(range + "00000000" + file)));  // what every child of node maps
  EXPECT_FALSE(has_reseed_mark(bytes(range + "00001000" + file + "s")));
  EXPECT_FALSE(has_reseed_mark(bytes(range + "00001000 00:15 12   /x/run/thimble/generation")));
  EXPECT_FALSE(has_reseed_mark(bytes("/run/thimble/generation")));
  EXPECT_FALSE(has_reseed_mark({}));
}

TEST(Runtime, TheSignalIsReadFromItsOwnLine) {
  EXPECT_TRUE(catches_sigurg(bytes(kUrgent)));
  EXPECT_FALSE(catches_sigurg(bytes(kNotUrgent)));
  EXPECT_FALSE(catches_sigurg(bytes("SigIgn:\t0000000000400000\n")));
  EXPECT_FALSE(catches_sigurg(bytes("SigCgt:\t400000\n")));
  EXPECT_FALSE(catches_sigurg(bytes("SigCgt:")));
  EXPECT_FALSE(catches_sigurg({}));
}

class Processes : public testing::Test {
 protected:
  Processes() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "thimble-runtime-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~Processes() override { std::filesystem::remove_all(folder_); }

  bool find(std::initializer_list<pid_t> processes) {
    const std::string list = folder_ + "/cgroup.procs";
    std::ofstream out(list);
    for (const pid_t process : processes) out << process << '\n';
    out.close();
    return find_unreseeded(list.c_str(), who, sizeof who);
  }

  char who[200] = {};

 private:
  std::string folder_;
};

TEST_F(Processes, OneThatIsNoRuntimeOfOursIsNamed) {
  EXPECT_TRUE(find({getpid()}));
  const std::string name = std::filesystem::read_symlink("/proc/self/exe");
  EXPECT_EQ(who, "process " + std::to_string(getpid()) + " (" + name.substr(0, 100) + ")");
}

TEST_F(Processes, WhatHasEndedKeepsNothing) {
  const pid_t ended = fork();
  if (ended == 0) _exit(0);
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(ended), &info, WEXITED | WNOWAIT), 0);
  EXPECT_FALSE(find({ended}));
  waitpid(ended, nullptr, 0);
  EXPECT_FALSE(find({ended}));
  EXPECT_TRUE(find({ended, getpid()}));
}

TEST_F(Processes, MoreThanCanBeReadAreNotTakenForReseeded) {
  const std::string list = std::string(20000, '\n');
  const std::string path = std::filesystem::temp_directory_path() / "thimble-many-processes";
  std::ofstream(path) << list;
  EXPECT_TRUE(find_unreseeded(path.c_str(), who, sizeof who));
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace thimble::init

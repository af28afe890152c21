// Programs that outlive the one that starts them.
#include "devices/base/detached_program.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <sstream>
#include <string>
#include <thread>

#include "devices/base/pipe.h"

namespace thimble {
namespace {

// What the program writes to its descriptor 3, to the end of it.
std::string read_all(Fd& from) {
  std::string all;
  std::array<char, 4096> bytes{};
  ssize_t n = 0;
  while ((n = ::read(from.get(), bytes.data(), bytes.size())) > 0) {
    all.append(bytes.data(), static_cast<size_t>(n));
  }
  return all;
}

DetachedProgram shell(const std::string& script) {
  return {.file = "/bin/sh",
          .arguments = {"sh", "-c", script},
          .environment = {"PATH=/usr/bin:/bin"},
          .passed = {}};
}

// The output of a script that writes to descriptor 3.
std::string output_of(DetachedProgram program) {
  auto pipe = make_pipe();
  EXPECT_TRUE(pipe);
  program.passed = {pipe->write.get()};
  const auto started = start_detached(program);
  EXPECT_TRUE(started) << started.error().message;
  pipe->write.reset();
  return read_all(pipe->read);
}

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

TEST(DetachedProgram, IsNobodysChildInASessionItDoesNotLead) {
  // pid, parent, process group, session, terminal: proc(5), stat
  const auto words = words_of(output_of(shell("exec cat /proc/self/stat >&3")));
  ASSERT_GT(words.size(), 6U);
  EXPECT_NE(words[3], std::to_string(::getpid()));
  EXPECT_NE(words[5], std::to_string(::getsid(0)));
  EXPECT_NE(words[5], words[0]);
  EXPECT_EQ(words[6], "0");
}

TEST(DetachedProgram, LeavesNoChildToBeWaitedFor) {
  output_of(shell(":"));
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG | __WALL), -1);
  EXPECT_EQ(errno, ECHILD);
}

TEST(DetachedProgram, HasTheDescriptorsThatItIsGivenAndNoOther) {
  const Fd other(::dup(STDERR_FILENO));  // would stay open over an exec
  ASSERT_TRUE(other);
  const auto out = words_of(output_of(shell("exec ls /proc/self/fd >&3")));
  // 3 was given; ls has one of its own, for the folder.
  EXPECT_EQ(out, (std::vector<std::string>{"0", "1", "2", "3", "4"}));
}

TEST(DetachedProgram, GetsDescriptorsInOrderWhateverTheirNumbersWere) {
  auto one = make_pipe();
  auto two = make_pipe();
  ASSERT_TRUE(one && two);
  // The one that becomes the fourth is the third here.
  DetachedProgram program = shell("echo first >&3; echo second >&4");
  program.passed = {std::max(one->write.get(), two->write.get()),
                    std::min(one->write.get(), two->write.get())};
  const bool swapped = two->write.get() > one->write.get();
  ASSERT_TRUE(start_detached(program));
  one->write.reset();
  two->write.reset();
  EXPECT_EQ(read_all(one->read), swapped ? "second\n" : "first\n");
  EXPECT_EQ(read_all(two->read), swapped ? "first\n" : "second\n");
}

TEST(DetachedProgram, HasNothingAsStandardDescriptors) {
  EXPECT_EQ(output_of(shell("cat; echo lost; readlink /proc/self/fd/2 >&3")), "/dev/null\n");
  auto errors = make_pipe();
  ASSERT_TRUE(errors);
  DetachedProgram program = shell("echo heard >&2");
  program.error_output = errors->write.get();
  ASSERT_TRUE(start_detached(program));
  errors->write.reset();
  EXPECT_EQ(read_all(errors->read), "heard\n");
}

TEST(DetachedProgram, HasTheEnvironmentThatItIsGiven) {
  ::setenv("SECRET", "value", 1);
  DetachedProgram program = shell("echo $SECRET:$GIVEN >&3");
  program.environment.emplace_back("GIVEN=this");
  EXPECT_EQ(output_of(program), ":this\n");
  program.environment = environment_of_this_process();
  EXPECT_EQ(output_of(program), "value:\n");
  ::unsetenv("SECRET");
}

TEST(DetachedProgram, StartsWithSignalsAsNobodyHadTouchedThem) {
  sigset_t blocked;
  sigset_t before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &blocked, &before), 0);
  ::signal(SIGPIPE, SIG_IGN);
  // One of libc's own, as some parents of ours leave it; signal() would not touch it.
  constexpr int kOfLibc = 32;
  std::array<uint64_t, 4> action{reinterpret_cast<uint64_t>(SIG_IGN)};
  ::syscall(SYS_rt_sigaction, kOfLibc, action.data(), nullptr, sizeof(uint64_t));
  const std::string status = output_of(shell("exec cat /proc/self/status >&3"));
  EXPECT_NE(status.find("SigBlk:\t0000000000000000"), std::string::npos) << status;
  EXPECT_NE(status.find("SigIgn:\t0000000000000000"), std::string::npos) << status;
  sigset_t now;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &now);
  EXPECT_EQ(sigismember(&now, SIGTERM), 1);
  EXPECT_EQ(sigismember(&now, SIGUSR1), 0);
  ::signal(SIGPIPE, SIG_DFL);
  action = {};
  ::syscall(SYS_rt_sigaction, kOfLibc, action.data(), nullptr, sizeof(uint64_t));
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST(DetachedProgram, StartsInTheRootWhereThatIsAsked) {
  DetachedProgram program = shell("pwd >&3");
  EXPECT_EQ(output_of(program), std::filesystem::current_path().string() + "\n");
  program.in_root = true;
  EXPECT_EQ(output_of(program), "/\n");
}

TEST(DetachedProgram, ThatCannotBeExecutedIsAnError) {
  DetachedProgram program = shell(":");
  program.file = "/nonexistent/program";
  const auto started = start_detached(program);
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message.find("No such file"), std::string::npos);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG | __WALL), -1);
}

TEST(DetachedProgram, WithTooManyDescriptorsIsRefused) {
  DetachedProgram program = shell(":");
  program.passed.assign(9, STDERR_FILENO);
  EXPECT_FALSE(start_detached(program));
}

TEST(DetachedProgram, CanBeStartedByThreadsThatAllocate) {
  std::vector<std::jthread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([] {
      for (int round = 0; round < 8; ++round) {
        EXPECT_EQ(output_of(shell("echo there >&3")), "there\n");
      }
    });
  }
}

}  // namespace
}  // namespace thimble

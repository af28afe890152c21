// The whole way of a server as the host sees it: start, stdio, signals, orderly end, exit status.
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <thread>

#include "tests/unit/guest-init/guest.h"

namespace thimble::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

std::string random_bytes(size_t size) {
  std::mt19937_64 random(7);
  std::string bytes(size, '\0');
  for (size_t i = 0; i + 8 <= size; i += 8) {
    const uint64_t word = random();
    std::memcpy(bytes.data() + i, &word, sizeof word);
  }
  return bytes;
}

// Sends everything from a thread of its own, then closes that direction.
std::jthread feed(int fd, const std::string& bytes) {
  return std::jthread([fd, &bytes] {
    size_t sent = 0;
    while (sent < bytes.size()) {
      const ssize_t put = send(fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (put <= 0) break;
      sent += static_cast<size_t>(put);
    }
    shutdown(fd, SHUT_WR);
  });
}

size_t peak_memory(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  std::string word;
  while (status >> word) {
    size_t kilobytes = 0;
    if (word == "VmHWM:" && status >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

// Sends until nothing has moved for a while; how many bytes went in.
size_t send_until_stuck(int fd) {
  const std::string chunk(65536, 'x');
  size_t total = 0;
  for (;;) {
    pollfd entry = {fd, POLLOUT, 0};
    if (poll(&entry, 1, 300) <= 0) return total;
    const ssize_t put = send(fd, chunk.data(), chunk.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (put > 0) total += static_cast<size_t>(put);
    if (total > 64u << 20) return total;
  }
}

TEST(Server, ExitCodeIsReported) {
  Guest guest;
  guest.prepare();
  EXPECT_GT(guest.start_shell("exit 7").u32(protocol::kTagPid), 1u);
  const Message exited = guest.receive();
  EXPECT_EQ(exited.type, protocol::kExited);
  EXPECT_EQ(exited.u32(protocol::kTagExitCode), 7u);
  EXPECT_FALSE(exited.has(protocol::kTagExitSignal));
  EXPECT_EQ(exited.u32(protocol::kTagOomKills), 3u);
}

TEST(Server, DeathBySignalIsReportedAsTheSignal) {
  Guest guest;
  guest.prepare();
  guest.start_shell("kill -9 $$");
  const Message exited = guest.receive();
  EXPECT_EQ(exited.type, protocol::kExited);
  EXPECT_EQ(exited.u32(protocol::kTagExitSignal), 9u);
  EXPECT_FALSE(exited.has(protocol::kTagExitCode));
}

TEST(Server, OutputAndErrorsArriveOnTheirOwnStreamsBeforeTheExit) {
  Guest guest;
  guest.prepare();
  guest.start_shell("echo out; echo err >&2");
  EXPECT_EQ(guest.receive().type, protocol::kExited);
  EXPECT_EQ(Guest::read_all(guest.output()), "out\n");
  EXPECT_EQ(Guest::read_all(guest.error()), "err\n");
}

TEST(Server, SixtyFourMebibytesThroughCatComeBackInBoundedMemory) {
  Guest guest;
  guest.prepare();
  const std::string bytes = random_bytes(64u << 20);
  guest.send(protocol::kStart, Guest::command({"cat"}));
  ASSERT_EQ(guest.receive().type, protocol::kStarted);
  const size_t before = peak_memory(guest.pid());
  {
    const std::jthread feeder = feed(guest.input(), bytes);
    EXPECT_TRUE(Guest::read_all(guest.output()) == bytes);
  }
  EXPECT_LT(peak_memory(guest.pid()), before + (1u << 20));
  EXPECT_EQ(guest.receive().u32(protocol::kTagExitCode), 0u);
}

TEST(Server, ASlowReaderStopsTheWriter) {
  Guest guest;
  guest.prepare();
  guest.send(protocol::kStart, Guest::command({"cat"}));
  ASSERT_EQ(guest.receive().type, protocol::kStarted);
  const size_t taken = send_until_stuck(guest.input());
  EXPECT_LT(taken, 4u << 20);
  shutdown(guest.input(), SHUT_WR);
  EXPECT_EQ(Guest::read_all(guest.output()), std::string(taken, 'x'));
  EXPECT_EQ(guest.receive().u32(protocol::kTagExitCode), 0u);
}

TEST(Server, PingIsAnsweredWhileAllStreamsAreBlocked) {
  Guest guest;
  guest.prepare();
  guest.start_shell("yes >&2 & yes & sleep 1000");
  send_until_stuck(guest.input());
  guest.send(protocol::kPing, Fields().add_u64(protocol::kTagNonce, 77));
  const Message pong = guest.receive();
  EXPECT_EQ(pong.type, protocol::kPong);
  EXPECT_EQ(pong.text(protocol::kTagNonce), raw(uint64_t{77}));
}

TEST(Server, AHostThatNeverReadsItsPongsDoesNotMakeInitGrow) {
  Guest guest;
  guest.prepare();
  const std::string ping = frame(protocol::kPing, Fields().add_u64(protocol::kTagNonce, 1).bytes());
  std::string pings;
  for (int i = 0; i < 4096; ++i) pings += ping;
  const size_t before = peak_memory(guest.pid());
  const int control = guest.connect_raw_control();  // refused, the first one counts
  EXPECT_EQ(Guest::read_all(control), "");
  close(control);
  std::jthread flood([&] {
    for (int i = 0; i < 64; ++i) guest.send_bytes(pings);
  });
  std::this_thread::sleep_for(milliseconds(300));
  EXPECT_LT(peak_memory(guest.pid()), before + (2u << 20));
  for (int i = 0; i < 64 * 4096; ++i) ASSERT_EQ(guest.receive().type, protocol::kPong) << i;
}

TEST(Server, ClosedStdinIsSeenByTheServer) {
  Guest guest;
  guest.prepare();
  guest.start_shell("cat; echo end");
  send(guest.input(), "hello ", 6, MSG_NOSIGNAL);
  guest.close_stdin();
  EXPECT_EQ(Guest::read_all(guest.output()), "hello end\n");
}

TEST(Server, ThatIgnoresTheEndOfStdinGetsSigtermAfterTheGrace) {
  Guest guest;
  guest.prepare();
  const auto begin = steady_clock::now();
  guest.start_shell("exec sleep 1000", 150, 5000);
  guest.close_stdin();
  EXPECT_EQ(guest.receive().u32(protocol::kTagExitSignal), 15u);
  EXPECT_GE(steady_clock::now() - begin, milliseconds(150));
}

TEST(Server, ThatWasIdleForLongHasItsGraceFromTheEndOfStdinOn) {
  Guest guest;
  guest.prepare();
  guest.start_shell("cat; sleep 0.3; exit 4", 1000, 5000);
  std::this_thread::sleep_for(milliseconds(1200));
  guest.close_stdin();
  EXPECT_EQ(guest.receive().u32(protocol::kTagExitCode), 4u);
}

TEST(Server, ThatIgnoresSigtermTooIsKilled) {
  Guest guest;
  guest.prepare();
  guest.start_shell("trap '' TERM; sleep 1000", 50, 100);
  guest.close_stdin();
  EXPECT_EQ(guest.receive().u32(protocol::kTagExitSignal), 9u);
}

TEST(Server, ThatStillWritesAfterTheEndOfStdinIsLeftAlone) {
  Guest guest;
  guest.prepare();
  guest.start_shell("cat; for i in 1 2 3 4 5 6; do sleep 0.3; echo $i; done", 1000, 100);
  guest.close_stdin();
  EXPECT_EQ(Guest::read_all(guest.output()), "1\n2\n3\n4\n5\n6\n");
  EXPECT_EQ(guest.receive().u32(protocol::kTagExitCode), 0u);
}

TEST(Server, WhoseOutputTheHostDoesNotTakeIsNotCalledSilent) {
  Guest guest;
  guest.prepare();
  guest.start_shell("head -c 8000000 /dev/zero", 500, 50);
  guest.close_stdin();
  std::this_thread::sleep_for(milliseconds(1200));
  EXPECT_EQ(Guest::read_all(guest.output()).size(), 8000000u);
  EXPECT_EQ(guest.receive().u32(protocol::kTagExitCode), 0u);
}

TEST(Server, ThatNeverReadsAFullStdinIsStillEnded) {
  Guest guest;
  guest.prepare();
  guest.start_shell("exec sleep 1000", 100, 5000);
  send_until_stuck(guest.input());
  guest.close_stdin();
  EXPECT_EQ(guest.receive().u32(protocol::kTagExitSignal), 15u);
}

TEST(Server, ThatComputesInSilenceIsLeftAlone) {
  Guest guest;
  guest.prepare();
  std::ofstream(guest.directory() + "/busy") << "";
  guest.start_shell("sleep 1; exit 7", 100, 100);
  guest.close_stdin();
  EXPECT_EQ(guest.receive().u32(protocol::kTagExitCode), 7u);
}

TEST(Server, WithoutGraceIsNeverEnded) {
  Guest guest;
  guest.prepare();
  guest.start_shell("sleep 0.5; exit 3");
  guest.close_stdin();
  EXPECT_EQ(guest.receive().u32(protocol::kTagExitCode), 3u);
}

TEST(Server, EndClosesItsStdinWhileTheHostKeepsTheStream) {
  Guest guest;
  guest.prepare();
  guest.start_shell("cat; exit 4");
  guest.send(protocol::kEnd);
  EXPECT_EQ(guest.receive().u32(protocol::kTagExitCode), 4u);
}

TEST(Server, SignalsReachTheWholeProcessGroup) {
  Guest guest;
  guest.prepare();
  guest.start_shell(
      "sh -c 'trap \"echo child; exit\" TERM; echo up; while :; do sleep 0.05; done' &"
      "trap 'wait; echo parent; exit 5' TERM; while :; do sleep 0.05; done");
  char up[3];
  ASSERT_EQ(recv(guest.output(), up, sizeof up, MSG_WAITALL), 3);
  std::this_thread::sleep_for(milliseconds(100));
  guest.send(protocol::kSignal, Fields().add_u32(protocol::kTagSignal, 15));
  EXPECT_EQ(guest.receive().u32(protocol::kTagExitCode), 5u);
  EXPECT_EQ(Guest::read_all(guest.output()), "child\nparent\n");
}

TEST(Server, ThatIsEndedByASignalIsReportedThoughNobodyTakesItsOutput) {
  Guest guest;
  guest.prepare();
  guest.start_shell("yes >&2 & exec yes");
  std::this_thread::sleep_for(milliseconds(200));
  guest.send(protocol::kSignal, Fields().add_u32(protocol::kTagSignal, SIGTERM));
  EXPECT_EQ(guest.receive().u32(protocol::kTagExitSignal), static_cast<uint32_t>(SIGTERM));
  EXPECT_FALSE(Guest::read_all(guest.output()).empty()) << "it still follows";
}

TEST(Server, WhoseReaderIsGoneGetsSigpipe) {
  Guest guest;
  guest.prepare();
  guest.send(protocol::kStart, Guest::command({"yes"}));
  ASSERT_EQ(guest.receive().type, protocol::kStarted);
  guest.close_stdout();
  EXPECT_EQ(guest.receive().u32(protocol::kTagExitSignal), 13u);
}

TEST(Server, WhoseReaderIsGoneLearnsItEvenAfterBeingSilent) {
  Guest guest;
  guest.prepare();
  guest.start_shell("read line; echo; sleep 0.2; echo; sleep 1000");
  guest.close_stdout();
  std::this_thread::sleep_for(milliseconds(100));
  send(guest.input(), "\n", 1, MSG_NOSIGNAL);
  EXPECT_EQ(guest.receive().u32(protocol::kTagExitSignal), 13u);
}

TEST(Server, AHostThatHalfClosesStdoutStillGetsTheOutput) {
  Guest guest;
  guest.prepare();
  shutdown(guest.output(), SHUT_WR);
  guest.start_shell("sleep 0.1; echo still here");
  EXPECT_EQ(Guest::read_all(guest.output()), "still here\n");
}

TEST(Server, ThatClosesItsStdinMakesTheHostsWritesFail) {
  Guest guest;
  guest.prepare();
  guest.start_shell("exec <&-; sleep 1000");
  bool refused = false;
  for (int i = 0; i < 100 && !refused; ++i) {
    refused = send(guest.input(), "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE;
    std::this_thread::sleep_for(milliseconds(10));
  }
  EXPECT_TRUE(refused);
}

TEST(Server, ThatClosesItsStdoutEndsThatStreamWhileItRuns) {
  Guest guest;
  guest.prepare();
  guest.start_shell("echo last; exec >&-; read line; exit 6");
  EXPECT_EQ(Guest::read_all(guest.output()), "last\n");
  send(guest.input(), "\n", 1, MSG_NOSIGNAL);
  EXPECT_EQ(guest.receive().u32(protocol::kTagExitCode), 6u);
}

TEST(Server, BackgroundProcessesThatHoldThePipesDoNotDelayTheExit) {
  Guest guest;
  guest.prepare();
  guest.start_shell("sleep 1000 & head -c 200000 /dev/zero; exit 8");
  EXPECT_EQ(Guest::read_all(guest.output()).size(), 200000u);
  EXPECT_EQ(guest.receive().u32(protocol::kTagExitCode), 8u);
}

TEST(Server, BackgroundProcessesThatKeepWritingDoNotDelayTheExit) {
  Guest guest;
  guest.prepare();
  guest.start_shell("yes & sleep 0.2; exit 9");
  EXPECT_FALSE(Guest::read_all(guest.output()).empty());
  EXPECT_EQ(guest.receive().u32(protocol::kTagExitCode), 9u);
}

// Watchdogs of servers take process 1 for "my parent has died".
TEST(Server, HasAParentThatIsNotInitAndStays) {
  Guest guest;
  guest.prepare();
  guest.start_shell(
      "echo $PPID; read line; cut -d' ' -f4 /proc/$$/stat; cut -d' ' -f4 /proc/$PPID/stat; ls -l "
      "/proc/$PPID/fd | wc -l");
  ASSERT_EQ(::send(guest.input(), "\n", 1, MSG_NOSIGNAL), 1);
  std::istringstream lines(Guest::read_all(guest.output()));
  std::string parent, still, its, descriptors;
  lines >> parent >> still >> its >> descriptors;
  EXPECT_EQ(parent, still);
  EXPECT_NE(parent, std::to_string(guest.pid()));
  EXPECT_EQ(its, std::to_string(guest.pid()));
  EXPECT_EQ(descriptors, "1") << "it holds nothing open: only the word total";
}

TEST(Server, OutlivesItsParentAndIsStillReported) {
  Guest guest;
  guest.prepare();
  guest.start_shell(
      "kill -TERM $PPID; kill -9 $PPID; while kill -0 $PPID 2>/dev/null; do sleep 0.01; done; echo "
      "on; exit 5");
  EXPECT_EQ(Guest::read_all(guest.output()), "on\n");
  const Message exited = guest.receive();
  EXPECT_EQ(exited.type, protocol::kExited);
  EXPECT_EQ(exited.u32(protocol::kTagExitCode), 5U);
}

TEST(Server, ThatDiesWithItsParentIsReported) {
  Guest guest;
  guest.prepare();
  guest.start_shell("exec 2>&-; kill -9 $PPID $$");
  const Message exited = guest.receive();
  EXPECT_EQ(exited.type, protocol::kExited);
  EXPECT_EQ(exited.u32(protocol::kTagExitSignal), 9U);
}

TEST(Server, EverySignalThatEndsItIsReportedAsItself) {
  for (const int number : {SIGHUP, SIGSEGV, SIGTERM, SIGABRT, SIGXFSZ, 40}) {
    Guest guest;
    guest.prepare();
    guest.start_shell("ulimit -c 0; kill -" + std::to_string(number) + " $$");
    EXPECT_EQ(guest.receive().u32(protocol::kTagExitSignal), static_cast<uint32_t>(number));
  }
}

TEST(Server, OrphansAreReaped) {
  Guest guest;
  guest.prepare();
  guest.start_shell("sh -c 'sleep 0.1 & sleep 0.2 &'; sleep 0.5; cat");
  std::this_thread::sleep_for(milliseconds(400));
  int zombies = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream stat(entry.path() / "stat");
    std::string pid, name, state, parent;
    stat >> pid >> name >> state >> parent;
    if (parent == std::to_string(guest.pid()) && state == "Z") ++zombies;
  }
  EXPECT_EQ(zombies, 0);
}

TEST(Start, GivesExactlyTheEnvironmentArgumentsAndDirectoryAsked) {
  Guest guest;
  guest.prepare();
  Fields fields;
  fields.add(protocol::kTagArgument, "/bin/sh")
      .add(protocol::kTagArgument, "-c")
      .add(protocol::kTagArgument, "echo \"$0|$1|$PWD\"; exec /usr/bin/env")
      .add(protocol::kTagArgument, "zero")
      .add(protocol::kTagArgument, "")
      .add(protocol::kTagEnvironment, "ONLY=this one")
      .add(protocol::kTagWorkdir, "/usr");
  guest.send(protocol::kStart, fields);
  ASSERT_EQ(guest.receive().type, protocol::kStarted);
  const std::string output = Guest::read_all(guest.output());
  EXPECT_EQ(output.substr(0, output.find('\n')), "zero||/usr");
  EXPECT_NE(output.find("\nONLY=this one\n"), std::string::npos);
  EXPECT_EQ(output.find("HOME="), std::string::npos);
}

// What this process has inherited as ignored of the signals that no C library lets a program
// change (32 and 33 are its own); as 16 hexadecimal digits. Zero for a guest's first process.
std::string ignored_beyond_reach() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word && word != "SigIgn:") {
  }
  status >> word;
  const uint64_t mask = std::stoull(word, nullptr, 16) & 0x180000000ULL;
  std::array<char, 17> digits{};
  std::snprintf(digits.data(), digits.size(), "%016lx", mask);
  return digits.data();
}

TEST(Start, LeavesNoSignalBlockedOrIgnoredAndNoDescriptorOpen) {
  Guest guest;
  guest.prepare();
  guest.start_shell("grep -E 'Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd");
  const std::string none = "0000000000000000";
  EXPECT_EQ(Guest::read_all(guest.output()),
            "SigBlk:\t" + none + "\nSigIgn:\t" + ignored_beyond_reach() +
                "\n0\n1\n2\n3\n");  // 3: ls reads there
}

TEST(Start, PutsTheServerIntoItsOwnSession) {
  Guest guest;
  guest.prepare();
  const uint32_t pid = guest.start_shell("cut -d' ' -f5,6 /proc/$$/stat").u32(protocol::kTagPid);
  const std::string number = std::to_string(pid);
  EXPECT_EQ(Guest::read_all(guest.output()), number + " " + number + "\n");
}

TEST(Start, AppliesResourceLimits) {
  Guest guest;
  guest.prepare();
  Fields fields = Guest::command({"sh", "-c", "ulimit -Sn; ulimit -Hn"});
  fields.add(protocol::kTagRlimit, raw(protocol::Rlimit{7, 64, 128}));  // RLIMIT_NOFILE
  guest.send(protocol::kStart, fields);
  ASSERT_EQ(guest.receive().type, protocol::kStarted);
  EXPECT_EQ(Guest::read_all(guest.output()), "64\n128\n");
}

// What `script` says when it runs as `user`.
std::string said_as(Guest& guest, const std::string& user, const std::string& script,
                    const std::string& variable = "A=b") {
  guest.prepare();
  Fields fields = Guest::command({"sh", "-c", script});
  fields.add(protocol::kTagUser, user).add(protocol::kTagEnvironment, variable);
  guest.send(protocol::kStart, fields);
  EXPECT_EQ(guest.receive().type, protocol::kStarted);
  return Guest::read_all(guest.output());
}

class StartAs : public testing::Test {
 protected:
  void SetUp() override {
    if (getuid() != 0) GTEST_SKIP() << "changing the user needs root";
    // The user is to reach its home.
    std::filesystem::permissions(guest.directory(), std::filesystem::perms{0755});
  }
  Guest guest;
};

TEST_F(StartAs, AGroupThatIsNamedIsTheOnlyOne) {
  EXPECT_EQ(said_as(guest, "node:staff", "id -u; id -g; id -G"), "1234\n50\n50\n");
}

TEST_F(StartAs, TheUserIsInAllOfItsGroups) {
  EXPECT_EQ(said_as(guest, "node", "id -u; id -g; id -G"), "1234\n1235\n1235 6 29\n");
}

TEST_F(StartAs, TheUserHasAHomeThatItCanWrite) {
  const std::string home = guest.directory() + "/home/node";
  EXPECT_EQ(said_as(guest, "1234",
                    "echo $HOME $USER $LOGNAME; echo x >$HOME/file; stat -c %u $HOME/file"),
            home + " node node\n1234\n");
}

TEST_F(StartAs, ANumberWithoutAnEntryGetsOne) {
  const std::string passwd = guest.directory() + "/passwd";
  const std::string home = "/tmp/thimble-none";
  EXPECT_EQ(said_as(guest, "4242:50", "tail -n 1 " + passwd + "; wc -l <" + passwd, "HOME=" + home),
            "user4242:x:4242:50::/home/4242:/bin/sh\n4\n");
}

TEST_F(StartAs, WhatTheHostSaysOfTheHomeCounts) {
  EXPECT_EQ(said_as(guest, "node", "echo $HOME", "HOME=/other"), "/other\n");
  EXPECT_FALSE(std::filesystem::exists(guest.directory() + "/home"));
}

TEST_F(StartAs, AHomeThatIsThereElsewhereKeepsItsOwner) {
  EXPECT_EQ(said_as(guest, "rooted", "echo $HOME; stat -c %u /"), "/\n0\n");
}

TEST_F(StartAs, TheServersParentIsTheUserToo) {
  EXPECT_EQ(said_as(guest, "node",
                    "kill -0 $PPID && echo may; grep -E '^[UG]id|^Groups' /proc/$PPID/status | tr "
                    "-s '\\t ' ' '"),
            "may\nUid: 1234 1234 1234 1234\nGid: 1235 1235 1235 1235\nGroups: 6 29 1235 \n");
}

struct StartFailure {
  const char* name;
  Fields fields;
  uint32_t step;
  int error;
  std::string text;
};

class FailingStart : public testing::TestWithParam<StartFailure> {};

TEST_P(FailingStart, IsReportedWithItsStepAndAllowsAnother) {
  Guest guest;
  guest.prepare();
  guest.send(protocol::kStart, GetParam().fields);
  const Message failed = guest.receive();
  EXPECT_EQ(failed.type, protocol::kFailed);
  EXPECT_EQ(failed.u32(protocol::kTagStep), GetParam().step);
  EXPECT_EQ(failed.u32(protocol::kTagErrno), static_cast<uint32_t>(GetParam().error));
  EXPECT_EQ(failed.text(protocol::kTagText), GetParam().text);
  guest.start_shell("exit 0");
  EXPECT_EQ(guest.receive().u32(protocol::kTagExitCode), 0u);
}

INSTANTIATE_TEST_SUITE_P(
    Start, FailingStart,
    testing::Values(
        StartFailure{"UnknownCommand", Guest::command({"no-such-command"}), protocol::kStepExec,
                     ENOENT, "exec no-such-command"},
        StartFailure{"MissingPath", Guest::command({"/no/such"}), protocol::kStepExec, ENOENT,
                     "exec /no/such"},
        StartFailure{"EmptyCommand", Guest::command({""}), protocol::kStepExec, ENOENT, "exec "},
        StartFailure{"DirectoryAsCommand", Guest::command({"/usr"}), protocol::kStepExec, EACCES,
                     "exec /usr"},
        StartFailure{"NotAProgram", Guest::command({"/proc/self/cmdline"}), protocol::kStepExec,
                     EACCES, "exec /proc/self/cmdline"},
        StartFailure{"MissingDirectory",
                     Guest::command({"sh"}).add(protocol::kTagWorkdir, "/no/such"),
                     protocol::kStepWorkdir, ENOENT, "enter directory /no/such"},
        StartFailure{"UnknownUser", Guest::command({"sh"}).add(protocol::kTagUser, "nobody-here"),
                     protocol::kStepUser, ENOENT, "find the user of 'nobody-here' in the image"},
        StartFailure{"UnknownGroup", Guest::command({"sh"}).add(protocol::kTagUser, "node:nope"),
                     protocol::kStepUser, ENOENT, "find the group of 'node:nope' in the image"},
        StartFailure{
            "UnknownLimit",
            Guest::command({"sh"}).add(protocol::kTagRlimit, raw(protocol::Rlimit{999, 1, 1})),
            protocol::kStepRlimit, EINVAL, "set resource limit 999"}),
    [](const testing::TestParamInfo<StartFailure>& test) { return test.param.name; });

TEST(Start, AScriptWithoutItsInterpreterIsToldFromAMissingCommand) {
  Guest guest;
  guest.prepare();
  const std::string script = guest.directory() + "/script";
  std::ofstream(script) << "#!/no/such/interpreter\n";
  std::filesystem::permissions(script, std::filesystem::perms::owner_all);
  guest.send(protocol::kStart, Guest::command({script}));
  const Message failed = guest.receive();
  EXPECT_EQ(failed.u32(protocol::kTagErrno), static_cast<uint32_t>(ENOENT));
  EXPECT_EQ(failed.text(protocol::kTagText), "exec " + script + ": its interpreter is missing");
}

TEST(Start, WaitsForStreamsThatItHasOvertaken) {
  Guest guest;
  guest.connect_control();
  guest.send(protocol::kConfigure);
  EXPECT_EQ(guest.receive().type, protocol::kConfigured);
  guest.send(protocol::kStart, Guest::command({"echo", "late"}));
  const int input = guest.connect_stream(protocol::kStdin);
  const int error = guest.connect_stream(protocol::kStderr);
  std::this_thread::sleep_for(milliseconds(50));
  const int output = guest.connect_stream(protocol::kStdout);
  EXPECT_EQ(guest.receive().type, protocol::kStarted);
  EXPECT_EQ(Guest::read_all(output), "late\n");
  close(input);
  close(output);
  close(error);
}

TEST(SetClock, TakesEffectWithoutAnAnswerAndItsFailureEndsNothing) {
  Guest guest;
  guest.prepare();
  guest.start_shell("read line; exit 5");
  guest.send(protocol::kSetClock, Fields().add_u64(protocol::kTagWallClock, 1234567890));
  guest.send(protocol::kPing, Fields().add_u64(protocol::kTagNonce, 1));
  EXPECT_EQ(guest.receive().type, protocol::kPong);
  std::ifstream clock(guest.directory() + "/clock");
  uint64_t set_to = 0;
  EXPECT_TRUE(clock >> set_to);
  EXPECT_EQ(set_to, 1234567890U);
  guest.send(protocol::kSetClock, Fields().add_u64(protocol::kTagWallClock, 0));
  const Message notice = guest.receive();
  EXPECT_EQ(notice.type, protocol::kNotice);
  EXPECT_EQ(notice.text(protocol::kTagText), "no clock");
  guest.close_stdin();
  EXPECT_EQ(guest.receive().u32(protocol::kTagExitCode), 5u);
}

TEST(Configure, FailureSaysWhatAndWhy) {
  Guest guest;
  guest.connect_control();
  guest.send(protocol::kConfigure, Fields().add(protocol::kTagHostname, "fail"));
  const Message failed = guest.receive();
  EXPECT_EQ(failed.type, protocol::kFailed);
  EXPECT_EQ(failed.u32(protocol::kTagStep), protocol::kStepMount);
  EXPECT_EQ(failed.text(protocol::kTagText), "mount /dev/vdz on /app");
}

}  // namespace
}  // namespace thimble::test

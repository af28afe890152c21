// Processes that the host starts beside the server: streams, end and signals of their own, a
// terminal where one is asked for, and a server that notices nothing of it.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/unit/guest-init/guest.h"

namespace thimble::test {
namespace {

using namespace protocol;  // NOLINT: the test is about nothing else

// The host's ends of one's streams.
struct Streams {
  Streams(Guest& guest, uint32_t process, bool terminal = false)
      : input(guest.connect_stream(kStdin, process)),
        output(guest.connect_stream(kStdout, process)),
        error(terminal ? -1 : guest.connect_stream(kStderr, process)) {}
  Streams(const Streams&) = delete;
  Streams& operator=(const Streams&) = delete;
  ~Streams() {
    for (const int fd : {input, output, error}) {
      if (fd >= 0) ::close(fd);
    }
  }
  void say(std::string_view text) const {
    EXPECT_EQ(::send(input, text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  // What comes until it ends so, or the stream does.
  [[nodiscard]] std::string hear(std::string_view end) const {
    std::string all;
    char byte = 0;
    while (!all.ends_with(end) && ::recv(output, &byte, 1, 0) == 1) all += byte;
    return all;
  }
  int input, output, error;
};

Fields shell(const std::string& script, uint32_t process) {
  return Guest::command({"sh", "-c", script}).add_u32(kTagProcess, process);
}

Fields in_terminal(const std::string& script, uint32_t process, Window window = {24, 80}) {
  return shell(script, process).add(kTagTerminal, raw(window));
}

void expect_end(Guest& guest, uint32_t process, uint32_t code) {
  const Message exited = guest.receive();
  EXPECT_EQ(exited.type, kExited);
  EXPECT_EQ(exited.u32(kTagProcess), process);
  EXPECT_EQ(exited.u32(kTagExitCode), code);
}

// A guest whose server answers lines.
class Beside : public testing::Test {
 protected:
  Beside() {
    guest.prepare();
    guest.start_shell("exec cat");
  }
  void start(const Fields& fields, uint32_t process) {
    guest.send(kStart, fields);
    const Message started = guest.receive();
    ASSERT_EQ(started.type, kStarted) << started.text(kTagText);
    EXPECT_EQ(started.u32(kTagProcess), process);
    EXPECT_GT(started.u32(kTagPid), 1u);
  }
  void expect_server_answers() {
    EXPECT_EQ(::send(guest.input(), "line\n", 5, MSG_NOSIGNAL), 5);
    std::string got(5, 0);
    EXPECT_EQ(::recv(guest.output(), got.data(), got.size(), MSG_WAITALL), 5);
    EXPECT_EQ(got, "line\n");
  }
  Guest guest;
};

TEST_F(Beside, HasStreamsAndAnEndOfItsOwn) {
  const Streams streams(guest, 1);
  start(shell("read word; echo got $word; echo err >&2; exit 7", 1), 1);
  streams.say("it\n");
  expect_end(guest, 1, 7);
  EXPECT_EQ(Guest::read_all(streams.output), "got it\n");
  EXPECT_EQ(Guest::read_all(streams.error), "err\n");
  expect_server_answers();
}

TEST_F(Beside, EightAtATimeAndEachNumberAgain) {
  for (const int round : {0, 1}) {
    std::vector<std::unique_ptr<Streams>> all;
    for (uint32_t process = 1; process <= kMaxProcesses; ++process) {
      all.push_back(std::make_unique<Streams>(guest, process));
      start(shell("read word; echo " + std::to_string(process) + "; exit 0", process), process);
    }
    for (uint32_t process = kMaxProcesses; process > 0; --process) {
      all[process - 1]->say("go\n");
      expect_end(guest, process, 0);
      EXPECT_EQ(Guest::read_all(all[process - 1]->output), std::to_string(process) + "\n") << round;
    }
  }
  expect_server_answers();
}

TEST_F(Beside, WhatCannotBeStartedIsToldWithItsNumberWhichIsFreeThen) {
  {
    const Streams streams(guest, 3);
    guest.send(kStart, Guest::command({"/no/such"}).add_u32(kTagProcess, 3));
    const Message failed = guest.receive();
    EXPECT_EQ(failed.type, kFailed);
    EXPECT_EQ(failed.u32(kTagProcess), 3u);
    EXPECT_EQ(failed.u32(kTagErrno), static_cast<uint32_t>(ENOENT));
    EXPECT_EQ(Guest::read_all(streams.output), "");
  }
  const Streams streams(guest, 3);
  start(shell("echo now", 3), 3);
  expect_end(guest, 3, 0);
  EXPECT_EQ(Guest::read_all(streams.output), "now\n");
  expect_server_answers();
}

TEST_F(Beside, AStartThatOvertakesItsStreamsWaitsForThem) {
  guest.send(kStart, shell("echo here", 2));
  ::usleep(50000);
  const Streams streams(guest, 2);
  EXPECT_EQ(guest.receive().type, kStarted);
  expect_end(guest, 2, 0);
  EXPECT_EQ(Guest::read_all(streams.output), "here\n");
}

TEST_F(Beside, ASignalIsForItAlone) {
  const Streams streams(guest, 1);
  start(shell("trap 'echo caught; exit 5' TERM; echo up; while :; do sleep 0.05; done", 1), 1);
  EXPECT_EQ(streams.hear("up\n"), "up\n");
  guest.send(kSignal, Fields().add_u32(kTagSignal, SIGTERM).add_u32(kTagProcess, 1));
  expect_end(guest, 1, 5);
  // One that is not there hears nothing, and that is no mistake.
  guest.send(kSignal, Fields().add_u32(kTagSignal, SIGTERM).add_u32(kTagProcess, 1));
  expect_server_answers();
}

TEST_F(Beside, WithoutAReaderItGetsSigpipe) {
  {
    const Streams streams(guest, 1);
    start(shell("exec yes", 1), 1);
  }
  const Message exited = guest.receive();
  EXPECT_EQ(exited.u32(kTagExitSignal), static_cast<uint32_t>(SIGPIPE));
  expect_server_answers();
}

TEST_F(Beside, HasATerminalOfTheSizeThatWasAsked) {
  const Streams streams(guest, 1, true);
  start(in_terminal("test -t 0 && test -t 1 && test -t 2 && stty size", 1, {31, 97}), 1);
  expect_end(guest, 1, 0);
  EXPECT_EQ(Guest::read_all(streams.output), "31 97\r\n");
}

TEST_F(Beside, ATerminalIsResizedAndItsUserToldSo) {
  const Streams streams(guest, 1, true);
  start(in_terminal("trap 'stty size; exit 4' WINCH; echo up; while :; do sleep 0.05; done", 1), 1);
  EXPECT_EQ(streams.hear("up\r\n"), "up\r\n");
  guest.send(kResize, Fields().add(kTagTerminal, raw(Window{50, 132})).add_u32(kTagProcess, 1));
  expect_end(guest, 1, 4);
  EXPECT_EQ(Guest::read_all(streams.output), "50 132\r\n");
}

TEST_F(Beside, ControlCInATerminalReachesItsForeground) {
  const Streams streams(guest, 1, true);
  start(in_terminal("stty -echo; echo up; exec sleep 60", 1), 1);
  EXPECT_EQ(streams.hear("up\r\n"), "up\r\n");
  streams.say("\x03");
  const Message exited = guest.receive();
  EXPECT_EQ(exited.type, kExited);
  EXPECT_EQ(exited.u32(kTagExitSignal), static_cast<uint32_t>(SIGINT));
}

TEST_F(Beside, AllThatATerminalShowedIsPassedOnBeforeTheEnd) {
  const Streams streams(guest, 1, true);
  guest.send(kStart, in_terminal("stty -opost; seq 200000", 1));
  EXPECT_EQ(guest.receive().type, kStarted);
  const std::string shown = Guest::read_all(streams.output);
  EXPECT_TRUE(shown.ends_with("\n199999\n200000\n")) << shown.size();
  EXPECT_EQ(shown.size(), 1288895u);
  expect_end(guest, 1, 0);
}

TEST_F(Beside, ATerminalWhoseHostIsGoneHangsUp) {
  {
    const Streams streams(guest, 1, true);
    start(in_terminal("exec sleep 60", 1), 1);
  }
  EXPECT_EQ(guest.receive().u32(kTagExitSignal), static_cast<uint32_t>(SIGHUP));
  expect_server_answers();
}

TEST_F(Beside, ATerminalMayBeLeftAndComeBackTo) {
  const Streams streams(guest, 1, true);
  start(in_terminal("exec </dev/null >/dev/null 2>&1; sleep 0.3; echo back >/dev/tty; exit 8", 1),
        1);
  EXPECT_EQ(streams.hear("back\r\n"), "back\r\n");
  expect_end(guest, 1, 8);
}

TEST_F(Beside, ATerminalThatNobodyLooksAtHangsUp) {
  Streams streams(guest, 1, true);
  start(in_terminal("exec yes", 1), 1);
  ::close(std::exchange(streams.output, -1));
  EXPECT_EQ(guest.receive().u32(kTagExitSignal), static_cast<uint32_t>(SIGHUP));
}

// A signal is no reason to lose what a slow reader has not taken yet.
TEST_F(Beside, AfterASignalAllOfItsOutputIsStillPassedOn) {
  const Streams streams(guest, 1);
  start(shell("trap : CONT; read word; head -c 900000 /dev/zero", 1), 1);
  guest.send(kSignal, Fields().add_u32(kTagSignal, SIGCONT).add_u32(kTagProcess, 1));
  streams.say("go\n");
  ::usleep(300000);  // it has written what there is room for
  EXPECT_EQ(Guest::read_all(streams.output).size(), 900000u);
  expect_end(guest, 1, 0);
}

TEST_F(Beside, AFifoInPlaceOfTheListOfUsersHoldsNobodyUp) {
  const std::string passwd = guest.directory() + "/passwd";
  ASSERT_EQ(::unlink(passwd.c_str()), 0);
  ASSERT_EQ(::mkfifo(passwd.c_str(), 0600), 0);
  const Streams streams(guest, 1);
  guest.send(kStart, shell("true", 1).add(kTagUser, "somebody"));
  EXPECT_EQ(guest.receive().type, kFailed);
  expect_server_answers();
}

// Its terminal says so for as long as it lives: nothing of the guest's is to go round in circles.
TEST_F(Beside, OneThatHasLeftItsTerminalCostsNothing) {
  const Streams streams(guest, 1, true);
  start(in_terminal("exec </dev/null >/dev/null 2>&1; exec sleep 1", 1), 1);
  const auto used = [this] {
    timespec time{};
    clockid_t clock{};
    EXPECT_EQ(::clock_getcpuclockid(guest.pid(), &clock), 0);
    EXPECT_EQ(::clock_gettime(clock, &time), 0);
    return time.tv_sec * 1000 + time.tv_nsec / 1'000'000;
  };
  const auto before = used();
  expect_end(guest, 1, 0);
  EXPECT_LT(used() - before, 300);
}

TEST(BesideTheServer, ItMayComeBeforeTheServerAndStay) {
  Guest guest;
  guest.connect_control();
  guest.send(kConfigure);
  ASSERT_EQ(guest.receive().type, kConfigured);
  const Streams streams(guest, 1);
  guest.send(kStart, shell("read word; exit 9", 1));
  ASSERT_EQ(guest.receive().type, kStarted);
  guest.connect_streams();
  guest.start_shell("exit 2");
  EXPECT_EQ(guest.receive().u32(kTagExitCode), 2u);
  streams.say("go\n");
  expect_end(guest, 1, 9);
}

struct Mistake {
  const char* name;
  uint16_t type;
  Fields fields;
};
class BesideMistake : public testing::TestWithParam<Mistake> {};

TEST_P(BesideMistake, EndsTheGuest) {
  Guest guest;
  guest.prepare();
  guest.start_shell("exec cat");
  const Streams streams(guest, 1);
  guest.send(kStart, shell("exec sleep 60", 1));
  ASSERT_EQ(guest.receive().type, kStarted);
  guest.send(GetParam().type, GetParam().fields);
  const Message failed = guest.receive();
  EXPECT_EQ(failed.type, kFailed);
  EXPECT_EQ(failed.u32(kTagStep), static_cast<uint32_t>(kStepProtocol));
  EXPECT_EQ(guest.wait_for_power_off(), 0);
}

INSTANTIATE_TEST_SUITE_P(
    Control, BesideMistake,
    testing::Values(Mistake{"ANumberThatRuns", kStart, shell("true", 1)},
                    Mistake{"ANumberTooHigh", kStart, shell("true", kMaxProcesses + 1)},
                    Mistake{"TheServersNumber", kStart, shell("true", 0)},
                    Mistake{"AWindowOfAWrongSize", kResize, Fields().add(kTagTerminal, "x")},
                    Mistake{"AFreeze", kFreeze, Fields()},
                    Mistake{
                        "ASignalToNobody", kSignal,
                        Fields().add_u32(kTagSignal, 1).add_u32(kTagProcess, kMaxProcesses + 1)}),
    [](const auto& param) { return std::string(param.param.name); });

TEST_F(Beside, AStreamOfNobodyEndsTheGuest) {
  const int stream = guest.connect_stream(kStdin, kMaxProcesses + 1);
  EXPECT_EQ(guest.receive().u32(kTagStep), static_cast<uint32_t>(kStepProtocol));
  ::close(stream);
}

}  // namespace
}  // namespace thimble::test

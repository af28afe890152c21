// Freezing a server for a snapshot and going on, with the same host or, as in a clone, with
// another.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <string>
#include <thread>

#include "tests/unit/guest-init/guest.h"

namespace thimble::test {
namespace {

using namespace protocol;  // NOLINT: the test is about nothing else

Fields when_idle(uint32_t limit_ms) { return Fields().add_u32(kTagIdleLimit, limit_ms); }

std::string echoed(const Guest& guest, const std::string& line) {
  EXPECT_EQ(::send(guest.input(), line.data(), line.size(), MSG_NOSIGNAL),
            static_cast<ssize_t>(line.size()));
  std::string got(line.size(), 0);
  const ssize_t n = recv(guest.output(), got.data(), got.size(), MSG_WAITALL);
  got.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return got;
}

void start_detached(Guest& guest, const std::string& script) {
  guest.connect_control();
  guest.send(kConfigure);
  ASSERT_EQ(guest.receive().type, kConfigured);
  guest.send(kStart, Guest::command({"sh", "-c", script}).add_u32(kTagDetached, 0));
  ASSERT_EQ(guest.receive().type, kStarted);
}

TEST(Freeze, ADetachedServerIsFrozenOnceItAwaitsItsInput) {
  Guest guest;
  start_detached(guest, "sleep 0.3; exec cat");
  const auto begin = std::chrono::steady_clock::now();
  guest.send(kFreeze, when_idle(10000));
  EXPECT_EQ(guest.receive().type, kFrozen);
  EXPECT_GT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(250));
}

TEST(Freeze, AProcessWhoseRandomNumbersAreNotReseededIsNamed) {
  for (const bool unreseeded : {false, true}) {
    Guest guest;
    if (unreseeded) std::ofstream(guest.directory() + "/unreseeded") << "process 45 (/bin/rnd)";
    start_detached(guest, "exec cat");
    guest.send(kFreeze, when_idle(10000));
    const Message frozen = guest.receive();
    EXPECT_EQ(frozen.type, kFrozen);
    EXPECT_EQ(frozen.has(kTagText), unreseeded);
    EXPECT_EQ(frozen.text(kTagText), unreseeded ? "process 45 (/bin/rnd)" : "");
  }
}

TEST(Freeze, ACloneServesItsNewHostOnlyAfterItKnowsWhoItIs) {
  Guest guest;
  start_detached(guest, "exec cat");
  guest.send(kFreeze, when_idle(10000));
  ASSERT_EQ(guest.receive().type, kFrozen);
  guest.close_control();

  guest.connect_control();
  EXPECT_EQ(guest.found(), kStateFrozenRunning);
  guest.connect_streams();
  guest.send(kConfigure);
  ASSERT_EQ(guest.receive().type, kConfigured);
  guest.send(kThaw);
  ASSERT_EQ(guest.receive().type, kThawed);
  EXPECT_EQ(echoed(guest, "hello\n"), "hello\n");
}

TEST(Freeze, AClientThatHasSaidAllBeforeTheThawIsServed) {
  Guest guest;
  start_detached(guest, "exec cat");
  guest.send(kFreeze, when_idle(10000));
  ASSERT_EQ(guest.receive().type, kFrozen);
  guest.close_control();
  guest.connect_control();
  guest.connect_streams();
  ASSERT_EQ(::send(guest.input(), "all\n", 4, MSG_NOSIGNAL), 4);
  shutdown(guest.input(), SHUT_WR);
  guest.send(kConfigure);
  ASSERT_EQ(guest.receive().type, kConfigured);
  guest.send(kThaw);
  ASSERT_EQ(guest.receive().type, kThawed);
  EXPECT_EQ(Guest::read_all(guest.output()), "all\n");
  EXPECT_EQ(guest.receive().u32(kTagExitCode), 0U);
}

TEST(Freeze, AThawBeforeTheNewIdentityIsAProtocolError) {
  Guest guest;
  start_detached(guest, "exec cat");
  guest.send(kFreeze);
  ASSERT_EQ(guest.receive().type, kFrozen);
  guest.close_control();
  guest.connect_control();
  guest.connect_streams();
  guest.send(kThaw);
  EXPECT_EQ(guest.receive().u32(kTagStep), kStepProtocol);
  EXPECT_EQ(guest.wait_for_power_off(), 0);
}

TEST(Freeze, TheSameHostMayGoOnAfterItsStreamsAreMadeAgain) {
  Guest guest;
  guest.prepare();
  guest.send(kStart, Guest::command({"cat"}));
  ASSERT_EQ(guest.receive().type, kStarted);
  EXPECT_EQ(echoed(guest, "before\n"), "before\n");
  guest.send(kFreeze, when_idle(10000));
  ASSERT_EQ(guest.receive().type, kFrozen);
  guest.connect_streams();
  guest.send(kThaw);
  ASSERT_EQ(guest.receive().type, kThawed);
  EXPECT_EQ(echoed(guest, "after\n"), "after\n");
}

TEST(Freeze, WhatTheServerWroteBeforeTheFreezeGoesToTheClonesClient) {
  Guest guest;
  start_detached(guest, "echo early; echo warning >&2; exec cat");
  guest.send(kFreeze, when_idle(10000));
  ASSERT_EQ(guest.receive().type, kFrozen);
  guest.close_control();
  guest.connect_control();
  guest.send(kConfigure);
  ASSERT_EQ(guest.receive().type, kConfigured);
  guest.connect_streams();
  guest.send(kThaw);
  ASSERT_EQ(guest.receive().type, kThawed);
  shutdown(guest.input(), SHUT_WR);
  EXPECT_EQ(guest.receive().u32(kTagExitCode), 0U);
  EXPECT_EQ(Guest::read_all(guest.output()), "early\n");
  EXPECT_EQ(Guest::read_all(guest.error()), "warning\n");
}

TEST(Freeze, AServerThatNeverAwaitsItsClientIsNamedAndRunsOn) {
  Guest guest;
  start_detached(guest, "ulimit -t 3; while :; do :; done");
  guest.send(kFreeze, when_idle(200));
  const Message failed = guest.receive();
  EXPECT_EQ(failed.type, kFailed);
  EXPECT_EQ(failed.u32(kTagStep), kStepIdle);
  EXPECT_NE(failed.text(kTagText).find("thread"), std::string::npos) << failed.text(kTagText);
  guest.send(kFreeze);  // at once is possible all the same
  EXPECT_EQ(guest.receive().type, kFrozen);
}

TEST(Freeze, ASleepingServerIsNotTakenForOneThatWaits) {
  Guest guest;
  start_detached(guest, "exec sleep 60");
  guest.send(kFreeze, when_idle(200));
  const Message failed = guest.receive();
  EXPECT_EQ(failed.u32(kTagStep), kStepIdle);
  EXPECT_NE(failed.text(kTagText).find("neither"), std::string::npos) << failed.text(kTagText);
}

TEST(Freeze, AServerThatEndsInsteadIsReported) {
  Guest guest;
  start_detached(guest, "sleep 0.2; exit 9");
  guest.send(kFreeze, when_idle(10000));
  const Message exited = guest.receive();
  EXPECT_EQ(exited.type, kExited);
  EXPECT_EQ(exited.u32(kTagExitCode), 9U);
}

TEST(Freeze, AGuestFrozenBeforeItsServerStartsOneAfterTheThaw) {
  Guest guest;
  guest.connect_control();
  guest.send(kConfigure);
  ASSERT_EQ(guest.receive().type, kConfigured);
  guest.send(kFreeze);
  ASSERT_EQ(guest.receive().type, kFrozen);
  guest.close_control();
  guest.connect_control();
  EXPECT_EQ(guest.found(), kStateFrozenConfigured);
  guest.send(kConfigure);
  ASSERT_EQ(guest.receive().type, kConfigured);
  guest.send(kThaw);
  ASSERT_EQ(guest.receive().type, kThawed);
  guest.connect_streams();
  guest.start_shell("exit 4");
  EXPECT_EQ(guest.receive().u32(kTagExitCode), 4U);
}

TEST(Freeze, NoGraceRunsOutWhileFrozen) {
  Guest guest;
  guest.prepare();
  guest.send(kStart, Guest::command({"sleep", "60"}).add_u32(kTagStdinGrace, 100));
  ASSERT_EQ(guest.receive().type, kStarted);
  shutdown(guest.input(), SHUT_WR);
  guest.send(kFreeze);
  ASSERT_EQ(guest.receive().type, kFrozen);
  std::this_thread::sleep_for(std::chrono::milliseconds(400));
  guest.send(kPing, Fields().add_u64(kTagNonce, 1));
  EXPECT_EQ(guest.receive().type, kPong) << "an exit would have come first";
}

TEST(Freeze, RequestsOutOfTurnAreProtocolErrors) {
  for (const bool twice : {false, true}) {
    Guest guest;
    guest.prepare();
    if (twice) {
      guest.send(kFreeze);
      ASSERT_EQ(guest.receive().type, kFrozen);
    }
    guest.send(twice ? kFreeze : kThaw);
    EXPECT_EQ(guest.receive().u32(kTagStep), kStepProtocol);
  }
}

}  // namespace
}  // namespace thimble::test

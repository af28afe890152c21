// The host's side of the control protocol against honest and hostile guests.
#include "pool/guest/guest_control.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "pool/guest/control_codec.h"

namespace thimble {
namespace {

using namespace protocol;
using Kind = GuestEvent::Kind;
using State = GuestControl::State;
using Bytes = std::vector<uint8_t>;

Bytes frame(uint16_t type, Bytes payload = {}) {
  const FrameHeader header{static_cast<uint32_t>(payload.size()), type, 0};
  Bytes out(sizeof header + payload.size());
  std::memcpy(out.data(), &header, sizeof header);
  if (!payload.empty()) std::memcpy(out.data() + sizeof header, payload.data(), payload.size());
  return out;
}

Bytes number_field(uint16_t tag, uint32_t value) {
  FieldWriter fields;
  fields.add_number<uint32_t>(tag, value);
  return fields.take();
}

Bytes text_field(uint16_t tag, std::string_view value) {
  FieldWriter fields;
  fields.add_text(tag, value);
  return fields.take();
}

Bytes hello(uint32_t state = kStateFresh) {
  FieldWriter fields;
  fields.add_number<uint32_t>(kTagVersion, kVersion);
  fields.add_number<uint32_t>(kTagState, state);
  return frame(kHello, fields.take());
}

std::vector<GuestEvent> drain(GuestControl& control) {
  std::vector<GuestEvent> events;
  while (auto event = control.next_event()) events.push_back(std::move(*event));
  return events;
}

std::vector<GuestEvent> feed(GuestControl& control, const Bytes& bytes) {
  control.received(bytes);
  return drain(control);
}

ServerSpec cat() {
  ServerSpec server;
  server.arguments = {"cat"};
  return server;
}

void run_until_started(GuestControl& control) {
  feed(control, hello());
  ASSERT_TRUE(control.configure({}));
  feed(control, frame(kConfigured));
  ASSERT_TRUE(control.start(cat()));
  feed(control, frame(kStarted, number_field(kTagPid, 42)));
  ASSERT_EQ(control.state(), State::kRunning);
}

void expect_broken(const Bytes& bytes, const char* what) {
  GuestControl control;
  feed(control, hello());
  const auto events = feed(control, bytes);
  ASSERT_FALSE(events.empty()) << what;
  EXPECT_EQ(events.back().kind, Kind::kBroken) << what;
  EXPECT_FALSE(events.back().text.empty()) << what;
  EXPECT_TRUE(feed(control, hello()).empty()) << what << ": nothing after broken";
}

TEST(GuestControl, TheUsualOrderGivesOneEventPerMessage) {
  GuestControl control;
  run_until_started(control);
  auto events = feed(control, frame(kExited, number_field(kTagExitCode, 7)));
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].kind, Kind::kExited);
  EXPECT_EQ(events[0].exit_code, 7U);
  EXPECT_FALSE(events[0].exit_signal);
}

TEST(GuestControl, BytesMayArriveOneByOne) {
  GuestControl control;
  std::vector<GuestEvent> events;
  Bytes bytes = hello();
  const Bytes notice = frame(kNotice, text_field(kTagText, "up"));
  bytes.insert(bytes.end(), notice.begin(), notice.end());
  for (const uint8_t byte : bytes) control.received({&byte, 1});
  events = drain(control);
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].kind, Kind::kHello);
  EXPECT_EQ(events[1].text, "up");
}

TEST(GuestControl, SeveralFramesMayArriveAtOnce) {
  GuestControl control;
  Bytes bytes = hello();
  for (int i = 0; i < 100; ++i) {
    const Bytes notice = frame(kNotice, text_field(kTagText, "n"));
    bytes.insert(bytes.end(), notice.begin(), notice.end());
  }
  EXPECT_EQ(feed(control, bytes).size(), 101U);
}

TEST(GuestControl, MalformedFramesBreakTheChannel) {
  Bytes too_long = frame(kNotice);
  const uint32_t length = kMaxPayload + 1;
  std::memcpy(too_long.data(), &length, sizeof length);
  expect_broken(too_long, "frame above the limit");

  Bytes reserved = frame(kNotice);
  reserved[6] = 1;
  expect_broken(reserved, "reserved bits in the frame header");

  expect_broken(frame(99), "unknown type");
  expect_broken(frame(kStart), "a message of the host's");
  expect_broken(frame(kNotice, {1, 2, 3}), "field header cut short");

  Bytes overrun = text_field(kTagText, "abc");
  overrun[4] = 200;
  expect_broken(frame(kNotice, overrun), "field that overruns its frame");
  Bytes huge = text_field(kTagText, "abc");
  std::memset(huge.data() + 4, 0xff, 4);
  expect_broken(frame(kNotice, huge), "field of 4 GiB");

  Bytes field_bits = text_field(kTagText, "abc");
  field_bits[2] = 1;
  expect_broken(frame(kNotice, field_bits), "reserved bits in a field header");

  expect_broken(frame(kNotice, number_field(kTagPid, 1)), "a field of another message");
  expect_broken(frame(kNotice, number_field(9999, 1)), "an unknown tag");
  expect_broken(frame(kPong, number_field(kTagNonce, 1)), "a number of the wrong size");
  expect_broken(frame(kPong), "an answer without its nonce");

  Bytes twice = text_field(kTagText, "a");
  const Bytes again = text_field(kTagText, "b");
  twice.insert(twice.end(), again.begin(), again.end());
  expect_broken(frame(kNotice, twice), "a field twice");
}

TEST(GuestControl, MessagesOutOfTurnBreakTheChannel) {
  expect_broken(hello(), "a second hello");
  expect_broken(frame(kConfigured), "an answer to nothing asked");
  expect_broken(frame(kStarted, number_field(kTagPid, 1)), "started before start");
  expect_broken(frame(kExited, number_field(kTagExitCode, 0)), "exited before start");
  GuestControl control;
  const auto events = feed(control, frame(kNotice, text_field(kTagText, "x")));
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].kind, Kind::kBroken) << "nothing comes before hello";
}

TEST(GuestControl, AnExitNeedsExactlyOneOfCodeAndSignal) {
  const auto exit_with = [](const Bytes& payload) {
    GuestControl control;
    run_until_started(control);
    return feed(control, frame(kExited, payload)).back().kind;
  };
  Bytes both = number_field(kTagExitCode, 0);
  const Bytes signal = number_field(kTagExitSignal, 9);
  EXPECT_EQ(exit_with(both), Kind::kExited);
  EXPECT_EQ(exit_with(signal), Kind::kExited);
  both.insert(both.end(), signal.begin(), signal.end());
  EXPECT_EQ(exit_with(both), Kind::kBroken);
  EXPECT_EQ(exit_with({}), Kind::kBroken);
  EXPECT_EQ(exit_with(number_field(kTagExitCode, 256)), Kind::kBroken);
  EXPECT_EQ(exit_with(number_field(kTagExitSignal, 0)), Kind::kBroken);
  EXPECT_EQ(exit_with(number_field(kTagExitSignal, 65)), Kind::kBroken);
}

TEST(GuestControl, AnotherVersionIsRefusedWithBothNumbers) {
  GuestControl control;
  const auto events = feed(control, frame(kHello, number_field(kTagVersion, 77)));
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].kind, Kind::kBroken);
  EXPECT_NE(events[0].text.find("77"), std::string::npos);
}

TEST(GuestControl, EscapeSequencesFromTheGuestDoNotReachTheTerminal) {
  GuestControl control;
  feed(control, hello());
  const auto events = feed(control, frame(kNotice, text_field(kTagText, "\033]0;owned\007\n")));
  ASSERT_EQ(events.size(), 1U);
  for (const char c : events[0].text) EXPECT_GE(c, ' ');
}

TEST(GuestControl, RandomBytesNeverDoMoreThanBreakTheChannel) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    GuestControl control;
    Bytes bytes = hello();
    for (int i = 0; i < 64; ++i) bytes.push_back(static_cast<uint8_t>(random()));
    // Plausible headers get deeper into the decoder than noise alone.
    if (round % 2 == 0) {
      Bytes payload;
      for (unsigned i = 0; i < random() % 40; ++i)
        payload.push_back(static_cast<uint8_t>(random() % 80));
      bytes = hello();
      const Bytes more = frame(static_cast<uint16_t>(65 + random() % 8), payload);
      bytes.insert(bytes.end(), more.begin(), more.end());
    }
    size_t broken = 0;
    for (const auto& event : feed(control, bytes)) broken += event.kind == Kind::kBroken;
    EXPECT_LE(broken, 1U);
  }
}

TEST(GuestControl, RequestsAtTheWrongTimeQueueNothing) {
  GuestControl control;
  EXPECT_FALSE(control.configure({}));
  EXPECT_FALSE(control.start(cat()));
  EXPECT_FALSE(control.signal(15));
  EXPECT_FALSE(control.ping(1));
  EXPECT_FALSE(control.set_clock(1));
  EXPECT_FALSE(control.end());
  EXPECT_FALSE(control.power_off());
  EXPECT_TRUE(control.output().empty());
}

TEST(GuestControl, ASignalMayFollowTheStartBeforeItsAnswer) {
  GuestControl control;
  feed(control, hello());
  ASSERT_TRUE(control.configure({}));
  feed(control, frame(kConfigured));
  EXPECT_FALSE(control.signal(15));
  ASSERT_TRUE(control.start(cat()));
  control.sent(control.output().size());
  ASSERT_TRUE(control.signal(15));
  const auto output = control.output();
  EXPECT_EQ(Bytes(output.begin(), output.end()), frame(kSignal, number_field(kTagSignal, 15)));
  feed(control, frame(kStarted, number_field(kTagPid, 42)));
  EXPECT_EQ(control.state(), State::kRunning);
  feed(control, frame(kExited, number_field(kTagExitCode, 0)));
  EXPECT_FALSE(control.signal(15));
}

TEST(GuestControl, TheClockOfAServerThatRunsCanBeSet) {
  GuestControl control;
  run_until_started(control);
  control.sent(control.output().size());
  ASSERT_TRUE(control.set_clock(77));
  FieldWriter fields;
  fields.add_number<uint64_t>(kTagWallClock, 77);
  const Bytes expected = frame(kSetClock, fields.take());
  EXPECT_EQ(Bytes(control.output().begin(), control.output().end()), expected);
  EXPECT_EQ(control.state(), State::kRunning);
}

TEST(GuestControl, ACommandThatIsTooLargeIsRefusedBeforeItIsSent) {
  GuestControl control;
  feed(control, hello());
  ASSERT_TRUE(control.configure({}));
  feed(control, frame(kConfigured));
  control.sent(control.output().size());
  ServerSpec server = cat();
  server.arguments.emplace_back(kMaxPayload, 'x');
  EXPECT_FALSE(control.start(server));
  server.arguments.assign(kMaxArguments + 1, "x");
  EXPECT_FALSE(control.start(server));
  server.arguments = {""};
  EXPECT_FALSE(control.start(server));
  server.arguments = {std::string("a\0b", 3)};
  EXPECT_FALSE(control.start(server));
  server = cat();
  server.workdir = "relative";
  EXPECT_FALSE(control.start(server));
  EXPECT_TRUE(control.output().empty());
  EXPECT_TRUE(control.start(cat())) << "a refused request leaves the channel usable";
}

TEST(GuestControl, TheStartMessageCarriesEveryFieldInOrder) {
  GuestControl control;
  feed(control, hello());
  ASSERT_TRUE(control.configure({}));
  feed(control, frame(kConfigured));
  control.sent(control.output().size());
  ServerSpec server;
  server.arguments = {"sh", "-c", ""};
  server.environment = {"A=1", "B="};
  server.workdir = "/app";
  server.user = "1000:1000";
  server.stdin_grace_ms = 10000;
  server.term_grace_ms = 5000;
  ASSERT_TRUE(control.start(server));

  FieldWriter expected;
  for (const auto& argument : server.arguments) expected.add_text(kTagArgument, argument);
  for (const auto& variable : server.environment) expected.add_text(kTagEnvironment, variable);
  expected.add_text(kTagWorkdir, "/app");
  expected.add_text(kTagUser, "1000:1000");
  expected.add_number<uint32_t>(kTagStdinGrace, 10000);
  expected.add_number<uint32_t>(kTagTermGrace, 5000);
  const Bytes wanted = frame(kStart, expected.take());
  EXPECT_EQ(Bytes(control.output().begin(), control.output().end()), wanted);
}

TEST(GuestControl, AGuestThatDoesNotReadCannotMakeTheQueueGrow) {
  GuestControl control;
  run_until_started(control);
  bool refused = false;
  for (int i = 0; i < 200000 && !refused; ++i) refused = !control.signal(15);
  EXPECT_TRUE(refused);
  EXPECT_LE(control.output().size(), 5U * kMaxPayload);
}

TEST(GuestControl, AFrozenServerIsThawedByItsOwnHostWithoutANewIdentity) {
  GuestControl control;
  run_until_started(control);
  EXPECT_FALSE(control.thaw({}));
  ASSERT_TRUE(control.freeze(1000));
  EXPECT_EQ(control.state(), State::kFreezing);
  feed(control, frame(kFrozen));
  EXPECT_EQ(control.state(), State::kFrozen);
  EXPECT_FALSE(control.freeze({}));
  ASSERT_TRUE(control.thaw({}));
  feed(control, frame(kThawed));
  EXPECT_EQ(control.state(), State::kRunning);
}

TEST(GuestControl, AFrozenServerMayNameAProcessThatIsNotReseeded) {
  for (const bool named : {false, true}) {
    GuestControl control;
    run_until_started(control);
    ASSERT_TRUE(control.freeze(1000));
    const auto events =
        feed(control,
             named ? frame(kFrozen, text_field(kTagText, "process 45 (/\x1b[m)")) : frame(kFrozen));
    ASSERT_EQ(events.size(), 1U);
    EXPECT_EQ(events[0].text.empty(), !named);
    EXPECT_EQ(events[0].text.find('\x1b'), std::string::npos);
  }
}

TEST(GuestControl, ACloneMustBeConfiguredBeforeItIsThawed) {
  GuestControl control;
  const auto events = feed(control, hello(kStateFrozenRunning));
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].found, kStateFrozenRunning);
  EXPECT_EQ(control.state(), State::kFrozenClone);
  EXPECT_FALSE(control.thaw({}));
  EXPECT_FALSE(control.start(cat()));
  ASSERT_TRUE(control.configure({}));
  feed(control, frame(kConfigured));
  ASSERT_TRUE(control.thaw({.stdin_grace_ms = 5, .term_grace_ms = {}}));
  feed(control, frame(kThawed));
  EXPECT_EQ(control.state(), State::kRunning);
}

TEST(GuestControl, ACloneFrozenBeforeItsServerStartedIsStartedAfterTheThaw) {
  GuestControl control;
  feed(control, hello(kStateFrozenConfigured));
  ASSERT_TRUE(control.configure({}));
  feed(control, frame(kConfigured));
  ASSERT_TRUE(control.thaw({}));
  feed(control, frame(kThawed));
  EXPECT_EQ(control.state(), State::kConfigured);
  EXPECT_TRUE(control.start(cat()));
}

TEST(GuestControl, AServerThatDoesNotSettleRunsOn) {
  GuestControl control;
  run_until_started(control);
  ASSERT_TRUE(control.freeze(10));
  const auto events = feed(control, frame(kFailed, number_field(kTagStep, kStepIdle)));
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].kind, Kind::kFailed);
  EXPECT_EQ(control.state(), State::kRunning);
}

TEST(GuestControl, AServerCanEndWhileItIsBeingFrozenAndInAClone) {
  GuestControl control;
  run_until_started(control);
  ASSERT_TRUE(control.freeze(10));
  feed(control, frame(kExited, number_field(kTagExitCode, 1)));
  EXPECT_EQ(control.state(), State::kExited);

  GuestControl clone;
  feed(clone, hello(kStateFrozenRunning));
  feed(clone, frame(kExited, number_field(kTagExitCode, 1)));
  EXPECT_EQ(clone.state(), State::kExited);
}

TEST(GuestControl, WhatNoFreezeAskedForBreaksTheChannel) {
  expect_broken(frame(kFrozen), "frozen unasked");
  expect_broken(frame(kThawed), "thawed unasked");
  GuestControl control;
  EXPECT_EQ(feed(control, hello(3)).back().kind, Kind::kBroken) << "an unknown state";
  GuestControl stateless;
  EXPECT_EQ(feed(stateless, frame(kHello, number_field(kTagVersion, kVersion))).back().kind,
            Kind::kBroken);
  GuestControl fresh_only;
  feed(fresh_only, hello(kStateFrozenConfigured));
  EXPECT_EQ(feed(fresh_only, frame(kExited, number_field(kTagExitCode, 1))).back().kind,
            Kind::kBroken)
      << "no server that could have ended";
}

// ---- processes beside the server

Bytes of_process(uint16_t type, uint32_t process, uint16_t tag = kTagPid, uint32_t value = 7) {
  FieldWriter fields;
  fields.add_number<uint32_t>(tag, value);
  if (process != kServerProcess) fields.add_number<uint32_t>(kTagProcess, process);
  return frame(type, fields.take());
}

TEST(GuestControlBeside, AProcessHasAnEndOfItsOwnAndTheServerGoesOn) {
  GuestControl control;
  run_until_started(control);
  const auto process = control.start_beside(cat());
  ASSERT_TRUE(process);
  EXPECT_EQ(*process, 1u);
  const auto started = feed(control, of_process(kStarted, 1));
  ASSERT_EQ(started.size(), 1u);
  EXPECT_EQ(started[0].process, 1u);
  const auto exited = feed(control, of_process(kExited, 1, kTagExitCode, 3));
  ASSERT_EQ(exited.size(), 1u);
  EXPECT_EQ(exited[0].process, 1u);
  EXPECT_EQ(exited[0].exit_code, 3u);
  EXPECT_EQ(control.state(), State::kRunning);
}

TEST(GuestControlBeside, NumbersAreGivenAgainOnceTheyAreFree) {
  GuestControl control;
  run_until_started(control);
  for (uint32_t number = 1; number <= kMaxProcesses; ++number) {
    ASSERT_EQ(control.start_beside(cat()).value_or(0), number);
  }
  EXPECT_FALSE(control.start_beside(cat()));
  feed(control, of_process(kFailed, 3, kTagStep, kStepExec));
  feed(control, of_process(kStarted, 5));
  feed(control, of_process(kExited, 5, kTagExitSignal, 9));
  EXPECT_EQ(control.start_beside(cat()).value_or(0), 3u);
  EXPECT_EQ(control.start_beside(cat()).value_or(0), 5u);
  EXPECT_FALSE(control.start_beside(cat()));
  EXPECT_EQ(control.state(), State::kRunning) << "the failure was not the server's";
}

TEST(GuestControlBeside, WhatNobodyAskedForBreaksTheChannel) {
  const auto breaks = [](const Bytes& bytes, bool asked) {
    GuestControl control;
    run_until_started(control);
    EXPECT_TRUE(!asked || control.start_beside(cat()));
    const auto events = feed(control, bytes);
    return !events.empty() && events.back().kind == Kind::kBroken;
  };
  EXPECT_TRUE(breaks(of_process(kStarted, 1), false));
  EXPECT_TRUE(breaks(of_process(kExited, 1, kTagExitCode, 0), false));
  EXPECT_TRUE(breaks(of_process(kFailed, 1, kTagStep, kStepExec), false));
  EXPECT_TRUE(breaks(of_process(kExited, 1, kTagExitCode, 0), true)) << "before it started";
  EXPECT_TRUE(breaks(of_process(kStarted, 2), true)) << "another one";
  EXPECT_TRUE(breaks(of_process(kStarted, kMaxProcesses + 1), true));
  EXPECT_TRUE(breaks(of_process(kPong, 1, kTagNonce), true));
  FieldWriter zero;
  zero.add_number<uint32_t>(kTagPid, 7);
  zero.add_number<uint32_t>(kTagProcess, kServerProcess);
  EXPECT_TRUE(breaks(frame(kStarted, zero.take()), true)) << "the server by its number";
}

TEST(GuestControlBeside, RequestsAreRefusedAtTheWrongTimeAndQueueNothing) {
  GuestControl control;
  EXPECT_FALSE(control.start_beside(cat()));
  run_until_started(control);
  control.sent(control.output().size());
  EXPECT_FALSE(control.signal_beside(0, 15)) << "the server has its own";
  EXPECT_FALSE(control.signal_beside(kMaxProcesses + 1, 15));
  EXPECT_FALSE(control.signal_beside(1, 0));
  EXPECT_FALSE(control.resize(0, {24, 80}));
  EXPECT_TRUE(control.signal_beside(1, 15)) << "it has ended, perhaps";
  EXPECT_TRUE(control.resize(1, {24, 80}));
  EXPECT_TRUE(control.output().empty());
  ASSERT_TRUE(control.start_beside(cat()));
  EXPECT_FALSE(control.freeze(std::nullopt)) << "it would be in all clones";
  feed(control, of_process(kFailed, 1, kTagStep, kStepExec));
  ASSERT_TRUE(control.freeze(std::nullopt));
  EXPECT_FALSE(control.start_beside(cat())) << "a frozen guest starts nothing";
}

}  // namespace
}  // namespace thimble

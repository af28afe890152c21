// What init does with a host that breaks the rules, and how the machine ends.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <random>

#include "tests/unit/guest-init/guest.h"

namespace thimble::test {
namespace {

void expect_protocol_error(Guest& guest) {
  Message failed = guest.receive();
  while (failed.type == protocol::kConfigured) failed = guest.receive();
  EXPECT_EQ(failed.type, protocol::kFailed);
  EXPECT_EQ(failed.u32(protocol::kTagStep), protocol::kStepProtocol);
  EXPECT_FALSE(failed.text(protocol::kTagText).empty());
  EXPECT_EQ(guest.wait_for_power_off(), 0);
}

TEST(Machine, PowersOffWhenTold) {
  Guest guest;
  guest.prepare();
  guest.start_shell("sleep 1000");
  guest.send(protocol::kPowerOff);
  EXPECT_EQ(guest.wait_for_power_off(), 0);
}

TEST(Machine, PowersOffWhenTheHostClosesTheControlChannel) {
  Guest guest;
  guest.prepare();
  guest.close_control();
  EXPECT_EQ(guest.wait_for_power_off(), 0);
}

TEST(Machine, DoesWhatCameBeforeTheChannelWasClosed) {
  Guest guest;
  guest.prepare();
  guest.send(protocol::kStart, Guest::command({"echo", "x"}));
  guest.close_control();
  EXPECT_EQ(guest.wait_for_power_off(), 0);
}

struct Violation {
  const char* name;
  std::string bytes;
};

class ProtocolViolation : public testing::TestWithParam<Violation> {};

TEST_P(ProtocolViolation, IsReportedAndEndsTheMachine) {
  Guest guest;
  guest.connect_control();
  guest.send_bytes(GetParam().bytes);
  expect_protocol_error(guest);
}

std::string header(uint32_t length, uint16_t type, uint16_t zero) {
  return raw(protocol::FrameHeader{length, type, zero});
}

const std::string kConfigure = frame(protocol::kConfigure, "");

INSTANTIATE_TEST_SUITE_P(
    Control, ProtocolViolation,
    testing::Values(
        Violation{"TooLongFrame", header(protocol::kMaxPayload + 1, protocol::kPing, 0)},
        Violation{"LongestFrame", header(0xffffffff, protocol::kPing, 0)},
        Violation{"UnknownType", header(0, 99, 0)},
        Violation{"GuestsOwnType", header(0, protocol::kHello, 0)},
        Violation{"ReservedBits", header(0, protocol::kPing, 7)},
        Violation{"PingWithoutNonce", frame(protocol::kPing, "")},
        Violation{"PowerOffWithPayload", frame(protocol::kPowerOff, "x")},
        Violation{"StartBeforeConfigure", frame(protocol::kStart, Guest::command({"sh"}).bytes())},
        Violation{"ConfigureTwice", kConfigure + kConfigure},
        Violation{"SetClockBeforeConfigure",
                  frame(protocol::kSetClock, Fields().add_u64(protocol::kTagWallClock, 1).bytes())},
        Violation{"SetClockWithoutAClock", kConfigure + frame(protocol::kSetClock, "")},
        Violation{"SignalBeforeStart",
                  kConfigure +
                      frame(protocol::kSignal, Fields().add_u32(protocol::kTagSignal, 15).bytes())},
        Violation{"EndBeforeStart", kConfigure + frame(protocol::kEnd, "")},
        Violation{"FieldOverrunsFrame",
                  frame(protocol::kConfigure,
                        raw(protocol::FieldHeader{protocol::kTagHostname, 0, 100}) + "short")},
        Violation{"UnknownTag", frame(protocol::kConfigure, Fields().add(77, "x").bytes())},
        Violation{"CutField", frame(protocol::kConfigure, "abc")}),
    [](const testing::TestParamInfo<Violation>& test) { return test.param.name; });

TEST(ControlChannel, AStartWithoutCommandEndsTheMachine) {
  Guest guest;
  guest.prepare();
  guest.send(protocol::kStart);
  expect_protocol_error(guest);
}

TEST(ControlChannel, TakesMessagesThatArriveByteByByte) {
  Guest guest;
  guest.connect_control();
  const std::string ping = frame(protocol::kPing, Fields().add_u64(protocol::kTagNonce, 5).bytes());
  for (const char byte : ping) {
    guest.send_bytes({&byte, 1});
    usleep(500);
  }
  EXPECT_EQ(guest.receive().type, protocol::kPong);
}

TEST(ControlChannel, TakesALargestMessage) {
  Guest guest;
  guest.prepare();
  Fields fields = Guest::command({"sh", "-c", "echo ${#BIG}"});
  const size_t room = protocol::kMaxPayload - fields.bytes().size() - sizeof(protocol::FieldHeader);
  fields.add(protocol::kTagEnvironment, "BIG=" + std::string(100000, 'b'));
  fields.add(protocol::kTagEnvironment,
             "REST=" + std::string(room - 100004 - sizeof(protocol::FieldHeader) - 5, 'r'));
  ASSERT_EQ(fields.bytes().size(), protocol::kMaxPayload);
  guest.send(protocol::kStart, fields);
  // A single variable may have 128 KiB, so Linux itself refuses this one; init must not.
  const Message answer = guest.receive();
  EXPECT_EQ(answer.type, protocol::kFailed);
  EXPECT_EQ(answer.u32(protocol::kTagErrno), static_cast<uint32_t>(E2BIG));
}

TEST(ControlChannel, ASecondHostIsTurnedAway) {
  Guest guest;
  guest.connect_control();
  const int second = guest.connect_raw_control();
  EXPECT_EQ(Guest::read_all(second), "");
  close(second);
  guest.send(protocol::kPing, Fields().add_u64(protocol::kTagNonce, 1));
  EXPECT_EQ(guest.receive().type, protocol::kPong);
}

TEST(Streams, AWrongMagicEndsTheMachine) {
  Guest guest;
  guest.connect_control();
  const int fd = guest.connect_raw_stream();
  send(fd, "GET / HTTP/1.1\r\n", 16, MSG_NOSIGNAL);
  expect_protocol_error(guest);
  close(fd);
}

TEST(Streams, ConnectedTwiceEndTheMachine) {
  Guest guest;
  guest.connect_control();
  const int first = guest.connect_stream(protocol::kStdout);
  const int second = guest.connect_stream(protocol::kStdout);
  expect_protocol_error(guest);
  close(first);
  close(second);
}

TEST(Streams, AnUnknownNumberEndsTheMachine) {
  Guest guest;
  guest.connect_control();
  const int fd = guest.connect_stream(3);
  expect_protocol_error(guest);
  close(fd);
}

TEST(Streams, AConnectionWithoutPrefaceIsForgotten) {
  Guest guest;
  for (int i = 0; i < 20; ++i) close(guest.connect_raw_stream());
  guest.prepare();
  guest.start_shell("exit 0");
  EXPECT_EQ(guest.receive().type, protocol::kExited);
}

TEST(ControlChannel, RandomBytesEndTheMachineInOrder) {
  std::mt19937 random(3);
  for (int round = 0; round < 100; ++round) {
    Guest guest;
    guest.connect_control();
    std::string bytes(1 + random() % 400, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    if (round % 2) bytes = header(static_cast<uint32_t>(bytes.size()), 1 + random() % 6, 0) + bytes;
    guest.send_bytes(bytes);
    guest.close_control();
    ASSERT_EQ(guest.wait_for_power_off(), 0) << round;
  }
}

}  // namespace
}  // namespace thimble::test

// The parts of vsock that need no queue: flow control, the ring of unwritten bytes, and one
// connection between a socket pair and packets made by hand.
#include <gtest/gtest.h>
#include <sys/epoll.h>

#include <numeric>
#include <string>

#include "devices/vsock/byte_ring.h"
#include "devices/vsock/connection.h"
#include "devices/vsock/credit.h"
#include "tests/unit/devices/fake_vsock_driver.h"

namespace thimble {
namespace {

using Fate = Connection::Fate;

TEST(VsockCredit, GuestWithoutWindowGetsNothing) {
  SendCredit credit;
  EXPECT_EQ(credit.available(), 0U);
}

TEST(VsockCredit, SpentCreditComesBackWithWhatTheGuestConsumed) {
  SendCredit credit;
  ASSERT_TRUE(credit.update(100, 0));
  credit.spend(100);
  EXPECT_EQ(credit.available(), 0U);
  ASSERT_TRUE(credit.update(100, 60));
  EXPECT_EQ(credit.available(), 60U);
}

TEST(VsockCredit, ShrunkWindowGivesNothingUntilTheGuestCaughtUp) {
  SendCredit credit;
  ASSERT_TRUE(credit.update(100, 0));
  credit.spend(80);
  ASSERT_TRUE(credit.update(10, 0));
  EXPECT_EQ(credit.available(), 0U);
  ASSERT_TRUE(credit.update(10, 80));
  EXPECT_EQ(credit.available(), 10U);
}

TEST(VsockCredit, ConsumingBytesNeverSentIsALie) {
  SendCredit credit;
  ASSERT_TRUE(credit.update(100, 0));
  credit.spend(10);
  EXPECT_FALSE(credit.update(100, 11));
}

TEST(VsockCredit, OlderCountIsIgnored) {
  SendCredit credit;
  ASSERT_TRUE(credit.update(100, 0));
  credit.spend(50);
  ASSERT_TRUE(credit.update(100, 40));
  ASSERT_TRUE(credit.update(100, 30));
  EXPECT_EQ(credit.available(), 90U);
}

TEST(VsockCredit, CountsWrapAround) {
  SendCredit credit;
  uint32_t sent = 0;
  for (int i = 0; i < 10; ++i) {  // 10 GiB in all
    ASSERT_TRUE(credit.update(UINT32_MAX, sent));
    ASSERT_EQ(credit.available(), 1U << 30);
    credit.spend(1U << 30);
    sent += 1U << 30;
  }
}

TEST(VsockCredit, BytesBeyondTheGrantAreRefused) {
  ReceiveCredit credit(100);
  EXPECT_TRUE(credit.take(100));
  EXPECT_FALSE(credit.take(1));
  credit.pass_on(50);
  EXPECT_FALSE(credit.take(1)) << "the guest has not been told";
  credit.tell();
  EXPECT_TRUE(credit.take(50));
  EXPECT_FALSE(credit.take(UINT64_MAX));
}

TEST(VsockCredit, UpdateIsDueAfterAQuarterOfTheWindow) {
  ReceiveCredit credit(100);
  ASSERT_TRUE(credit.take(60));
  credit.pass_on(24);
  EXPECT_FALSE(credit.update_due());
  credit.pass_on(1);
  EXPECT_TRUE(credit.update_due());
  EXPECT_EQ(credit.tell(), 25U);
  EXPECT_FALSE(credit.update_due());
}

TEST(ByteRing, KeepsOrderWhileItWrapsAndGrows) {
  ByteRing ring;
  std::string in;
  std::string out;
  uint8_t next = 0;
  for (size_t round = 1; round < 200; ++round) {
    std::vector<uint8_t> bytes(round * 37);
    std::iota(bytes.begin(), bytes.end(), next);
    next += 13;
    in.append(bytes.begin(), bytes.end());
    ring.append(bytes);
    const auto pieces = ring.pieces();
    const size_t take = std::min<size_t>(pieces[0].iov_len, round * 31);
    out.append(static_cast<const char*>(pieces[0].iov_base), take);
    ring.consume(take);
  }
  for (const iovec& piece : ring.pieces()) {
    out.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
  }
  EXPECT_EQ(out, in);
}

TEST(ByteRing, EmptyRingHoldsNothing) {
  ByteRing ring;
  const uint8_t byte = 7;
  ring.append({&byte, 1});
  ring.consume(1);
  EXPECT_TRUE(ring.empty());
  EXPECT_EQ(ring.pieces()[0].iov_len + ring.pieces()[1].iov_len, 0U);
}

// ---- one connection

constexpr uint32_t kWindow = 64 * 1024;

VsockHeader from_guest(VsockOp op, uint32_t len = 0, uint32_t flags = 0) {
  auto header = fake::VsockDriver::packet(op, 5000, 80);
  header.len = len;
  header.flags = flags;
  return header;
}

// A stream that the guest opened and the device accepted.
struct Open {
  Open() : connection(from_guest(VsockOp::kRequest), std::move(pair.device), kWindow) {
    EXPECT_EQ(connection.take_control().op, VsockOp::kResponse);
  }
  void data(std::string bytes) {
    const iovec piece{bytes.data(), bytes.size()};
    connection.receive(from_guest(VsockOp::kData, static_cast<uint32_t>(bytes.size())),
                       {&piece, 1});
  }
  void shutdown(uint32_t flags) {
    connection.receive(from_guest(VsockOp::kShutdown, 0, flags), {});
  }
  // Fills the socket until bytes wait in the connection.
  std::string fill() {
    std::string all;
    while (*connection.interest() == EPOLLIN) {
      all.append(8192, static_cast<char>('a' + all.size() / 8192 % 26));
      data(all.substr(all.size() - 8192));
      while (connection.has_control()) connection.take_control();
    }
    return all;
  }
  std::optional<VsockHeader> read(std::string& room) {
    const iovec piece{room.data(), room.size()};
    return connection.read_data({&piece, 1});
  }
  fake::StreamPair pair;
  Connection connection;
};

TEST(VsockConnection, BytesFromTheGuestReachTheSocket) {
  Open stream;
  stream.data("hello");
  EXPECT_EQ(fake::read_now(stream.pair.host.get()), "hello");
}

TEST(VsockConnection, BytesThatTheSocketDoesNotTakeFollowInOrder) {
  Open stream;
  const std::string sent = stream.fill();
  std::string got = fake::read_now(stream.pair.host.get());
  EXPECT_LT(got.size(), sent.size());
  while (*stream.connection.interest() != EPOLLIN) {
    stream.connection.socket_ready(EPOLLOUT);
    got += fake::read_now(stream.pair.host.get());
  }
  EXPECT_EQ(got, sent);
}

TEST(VsockConnection, BytesHeldNeverExceedTheWindow) {
  Open stream;
  stream.fill();
  for (int i = 0; i < 20; ++i) stream.data(std::string(8192, 'x'));
  EXPECT_EQ(stream.connection.fate(), Fate::kReset);
}

TEST(VsockConnection, DataAfterTheGuestsEndBreaksTheProtocol) {
  Open stream;
  stream.shutdown(kShutdownSend);
  stream.data("more");
  EXPECT_EQ(stream.connection.fate(), Fate::kReset);
}

TEST(VsockConnection, SecondRequestOrResponseOrUnknownOperationBreaksTheProtocol) {
  for (const auto op : {VsockOp::kRequest, VsockOp::kResponse, VsockOp::kInvalid, VsockOp{99}}) {
    Open stream;
    stream.connection.receive(from_guest(op), {});
    EXPECT_EQ(stream.connection.fate(), Fate::kReset) << static_cast<int>(op);
  }
}

TEST(VsockConnection, GuestsEndOfSendingArrivesAfterItsBytes) {
  Open stream;
  const std::string sent = stream.fill();
  stream.shutdown(kShutdownSend);
  std::string got;
  bool ended = false;
  for (int i = 0; i < 1000 && !ended; ++i) {
    got += fake::read_now(stream.pair.host.get(), &ended);
    stream.connection.socket_ready(EPOLLOUT);
  }
  EXPECT_TRUE(ended);
  EXPECT_EQ(got, sent);
  EXPECT_EQ(stream.connection.fate(), Fate::kKeep) << "the other direction still lives";
}

TEST(VsockConnection, GuestsCloseIsAnsweredAfterItsBytesAreDelivered) {
  Open stream;
  stream.fill();
  stream.shutdown(kShutdownBoth);
  EXPECT_EQ(stream.connection.fate(), Fate::kKeep);
  for (int i = 0; i < 1000 && stream.connection.fate() == Fate::kKeep; ++i) {
    fake::read_now(stream.pair.host.get());
    stream.connection.socket_ready(EPOLLOUT);
  }
  EXPECT_EQ(stream.connection.fate(), Fate::kReset);
}

TEST(VsockConnection, BytesReceivedBeforeAResetAreStillDelivered) {
  Open stream;
  stream.fill();
  stream.connection.forgotten_by_guest();
  EXPECT_EQ(stream.connection.fate(), Fate::kDrain);
  for (int i = 0; i < 1000 && stream.connection.fate() == Fate::kDrain; ++i) {
    fake::read_now(stream.pair.host.get());
    stream.connection.socket_ready(EPOLLOUT);
  }
  EXPECT_EQ(stream.connection.fate(), Fate::kDrop);
}

TEST(VsockConnection, HostsHalfCloseComesAfterItsBytesAndLeavesTheOtherDirection) {
  Open stream;
  fake::write_all(stream.pair.host.get(), "last words");
  ::shutdown(stream.pair.host.get(), SHUT_WR);
  stream.connection.socket_ready(EPOLLIN);
  EXPECT_FALSE(stream.connection.has_control());
  std::string room(100, 0);
  ASSERT_EQ(stream.read(room)->len, 10U);
  stream.connection.socket_ready(EPOLLIN);
  ASSERT_FALSE(stream.read(room));
  const VsockHeader end = stream.connection.take_control();
  EXPECT_EQ(end.op, VsockOp::kShutdown);
  EXPECT_EQ(end.flags, kShutdownSend);
  stream.data("still here");
  EXPECT_EQ(fake::read_now(stream.pair.host.get()), "still here");
}

TEST(VsockConnection, GoneReaderIsToldToTheGuestEvenBeforeAllBytesWereRead) {
  Open stream;
  fake::write_all(stream.pair.host.get(), "unread");
  stream.pair.host.reset();
  stream.connection.socket_ready(EPOLLIN | EPOLLHUP);
  VsockHeader first = stream.connection.take_control();
  EXPECT_EQ(first.op, VsockOp::kShutdown);
  EXPECT_EQ(first.flags, kShutdownReceive);
  std::string room(100, 0);
  ASSERT_EQ(stream.read(room)->len, 6U);
  ASSERT_FALSE(stream.read(room));
  EXPECT_EQ(stream.connection.take_control().flags, kShutdownBoth);
  EXPECT_EQ(stream.connection.waits_for(), Connection::Wait::kReset);
}

TEST(VsockConnection, WritingToAClosedSocketTellsTheGuestAndDiscards) {
  Open stream;
  stream.pair.host.reset();
  stream.data("into the void");
  ASSERT_TRUE(stream.connection.has_control());
  const VsockHeader told = stream.connection.take_control();
  EXPECT_EQ(told.op, VsockOp::kShutdown);
  EXPECT_EQ(told.flags & kShutdownReceive, kShutdownReceive);
  for (int i = 0; i < 100; ++i) {
    stream.data(std::string(8192, 'x'));
    while (stream.connection.has_control()) stream.connection.take_control();
  }
  EXPECT_EQ(stream.connection.fate(), Fate::kKeep) << "discarded bytes use up no credit";
}

TEST(VsockConnection, BothHalfClosesTogetherEndTheStream) {
  Open stream;
  stream.shutdown(kShutdownSend);
  ::shutdown(stream.pair.host.get(), SHUT_WR);
  stream.connection.socket_ready(EPOLLIN);
  std::string room(100, 0);
  ASSERT_FALSE(stream.read(room));
  EXPECT_EQ(stream.connection.take_control().flags, kShutdownBoth);
}

TEST(VsockConnection, SocketIsNotWatchedForReadingBeforeItWasReadEmpty) {
  Open stream;
  EXPECT_EQ(stream.connection.interest(), EPOLLIN);
  fake::write_all(stream.pair.host.get(), "x");
  stream.connection.socket_ready(EPOLLIN);
  EXPECT_EQ(stream.connection.interest(), 0U);
  std::string room(100, 0);
  ASSERT_TRUE(stream.read(room));
  EXPECT_EQ(stream.connection.interest(), EPOLLIN);
}

TEST(VsockConnection, HungUpSocketWithNothingToDoIsNotWatched) {
  Open stream;
  stream.pair.host.reset();
  stream.connection.socket_ready(EPOLLIN | EPOLLHUP);
  EXPECT_EQ(stream.connection.interest(), std::nullopt);
}

TEST(VsockConnection, StarvedStreamAsksForCreditOnce) {
  Open stream;
  auto poor = from_guest(VsockOp::kCreditUpdate);
  poor.buf_alloc = 0;
  stream.connection.receive(poor, {});
  fake::write_all(stream.pair.host.get(), "waiting");
  stream.connection.socket_ready(EPOLLIN);
  EXPECT_FALSE(stream.connection.has_data());
  ASSERT_TRUE(stream.connection.has_control());
  EXPECT_EQ(stream.connection.take_control().op, VsockOp::kCreditRequest);
  stream.connection.receive(poor, {});
  EXPECT_FALSE(stream.connection.has_control()) << "or the two would go on for ever";
  stream.connection.receive(from_guest(VsockOp::kCreditUpdate), {});
  EXPECT_TRUE(stream.connection.has_data());
}

TEST(VsockConnection, EndOfTheSocketNeedsNoCredit) {
  Open stream;
  auto poor = from_guest(VsockOp::kCreditUpdate);
  poor.buf_alloc = 0;
  stream.connection.receive(poor, {});
  ::shutdown(stream.pair.host.get(), SHUT_WR);
  stream.connection.socket_ready(EPOLLIN);
  EXPECT_EQ(stream.connection.take_control().flags, kShutdownSend);
}

TEST(VsockConnection, CreditRequestIsAnswered) {
  Open stream;
  stream.connection.receive(from_guest(VsockOp::kCreditRequest), {});
  ASSERT_TRUE(stream.connection.has_control());
  const VsockHeader answer = stream.connection.take_control();
  EXPECT_EQ(answer.op, VsockOp::kCreditUpdate);
  EXPECT_EQ(answer.buf_alloc, kWindow);
}

TEST(VsockConnection, DataThatOnlyAnOverlappingShutdownReceiveForbidsIsNotRead) {
  Open stream;
  fake::write_all(stream.pair.host.get(), "nobody wants this");
  stream.connection.socket_ready(EPOLLIN);
  stream.shutdown(kShutdownReceive);
  EXPECT_FALSE(stream.connection.has_data());
  EXPECT_EQ(::send(stream.pair.host.get(), "x", 1, MSG_NOSIGNAL), -1);
  EXPECT_EQ(errno, EPIPE);
}

struct Requested {
  Requested() : connection({.host = 80, .guest = 5000}, std::move(pair.device), kWindow, true) {}
  fake::StreamPair pair;
  Connection connection;
};

TEST(VsockConnection, AcceptedClientIsToldOkOnceBeforeAnyByte) {
  Requested stream;
  EXPECT_EQ(stream.connection.take_control().op, VsockOp::kRequest);
  stream.connection.receive(from_guest(VsockOp::kResponse), {});
  EXPECT_EQ(fake::read_now(stream.pair.host.get()), "OK 80\n");
}

TEST(VsockConnection, DataBeforeTheResponseBreaksTheProtocol) {
  Requested stream;
  stream.connection.take_control();
  stream.connection.receive(from_guest(VsockOp::kData), {});
  EXPECT_EQ(stream.connection.fate(), Fate::kReset);
}

TEST(VsockConnection, ClientThatLeavesWithoutAByteCancelsItsRequest) {
  Requested stream;
  stream.connection.take_control();
  stream.pair.host.reset();
  stream.connection.socket_ready(EPOLLHUP);
  EXPECT_EQ(stream.connection.fate(), Fate::kReset);
}

TEST(VsockConnection, ClientThatLeavesItsBytesBehindIsStillServed) {
  Requested stream;
  stream.connection.take_control();
  fake::write_all(stream.pair.host.get(), "note");
  stream.pair.host.reset();
  stream.connection.socket_ready(EPOLLHUP);
  EXPECT_EQ(stream.connection.fate(), Fate::kKeep);
  EXPECT_EQ(stream.connection.interest(), std::nullopt);
  stream.connection.receive(from_guest(VsockOp::kResponse), {});
  std::string room(100, 0);
  const iovec piece{room.data(), room.size()};
  ASSERT_TRUE(stream.connection.has_data());
  EXPECT_EQ(stream.connection.read_data({&piece, 1})->len, 4U);
}

}  // namespace
}  // namespace thimble

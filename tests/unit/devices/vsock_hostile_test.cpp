// The vsock device with a guest that breaks the rules: nothing crashes, hangs, grows without limit
// or harms another stream.
#include <gtest/gtest.h>

#include <random>

#include "tests/unit/devices/fake_vsock_driver.h"

namespace thimble {
namespace {

using fake::ops;
using fake::StreamPair;
using fake::VsockDriver;

// A driver with one stream of guest port 5000 and host port 80.
struct Hostile {
  explicit Hostile(VsockLimits limits = {}) : driver(limits) {
    driver.device.listen(80, [this] { return std::move(pair.device); });
    driver.start();
    driver.send(VsockDriver::packet(VsockOp::kRequest, 5000, 80));
    EXPECT_EQ(ops(driver.receive_all()), std::vector{VsockOp::kResponse});
  }
  static VsockHeader packet(VsockOp op) { return VsockDriver::packet(op, 5000, 80); }
  // The stream was ended by a reset and its socket closed.
  void expect_ended() {
    EXPECT_EQ(ops(driver.receive_all()), std::vector{VsockOp::kReset});
    EXPECT_TRUE(fake::at_end(pair.host.get()));
    EXPECT_EQ(driver.device.connections(), 0U);
    EXPECT_EQ(driver.loop.watched(), 0U);
  }
  void expect_untouched() {
    EXPECT_EQ(driver.device.connections(), 1U);
    driver.send(packet(VsockOp::kData), "alive");
    EXPECT_EQ(fake::read_now(pair.host.get()), "alive");
  }
  StreamPair pair;
  VsockDriver driver;
};

TEST(VsockHostile, PacketInAnothersNameIsDropped) {
  Hostile guest;
  auto forged = Hostile::packet(VsockOp::kReset);
  forged.src_cid = 4;
  guest.driver.send(forged);
  EXPECT_TRUE(guest.driver.receive_all().empty());
  guest.expect_untouched();
}

TEST(VsockHostile, PacketForAnotherCidIsRefusedInItsName) {
  Hostile guest;
  auto lost = Hostile::packet(VsockOp::kRequest);
  lost.dst_cid = 77;
  guest.driver.send(lost);
  const auto came = guest.driver.receive_all();
  ASSERT_EQ(ops(came), std::vector{VsockOp::kReset});
  EXPECT_EQ(came[0].header.src_cid, 77U);
  guest.expect_untouched();
}

TEST(VsockHostile, UnknownTypeIsRefused) {
  Hostile guest;
  auto odd = Hostile::packet(VsockOp::kRequest);
  odd.type = VsockType{2};
  guest.driver.send(odd);
  const auto came = guest.driver.receive_all();
  ASSERT_EQ(ops(came), std::vector{VsockOp::kReset});
  EXPECT_EQ(came[0].header.type, VsockType{2});
  guest.expect_untouched();
}

TEST(VsockHostile, UnknownOperationEndsItsStream) {
  Hostile guest;
  guest.driver.send(Hostile::packet(VsockOp{1000}));
  guest.expect_ended();
}

TEST(VsockHostile, PacketForAnUnknownStreamIsRefused) {
  Hostile guest;
  for (const auto op : {VsockOp::kResponse, VsockOp::kShutdown, VsockOp::kData,
                        VsockOp::kCreditUpdate, VsockOp::kCreditRequest}) {
    guest.driver.send(VsockDriver::packet(op, 1, 2));
    EXPECT_EQ(ops(guest.driver.receive_all()), std::vector{VsockOp::kReset});
  }
  guest.expect_untouched();
}

TEST(VsockHostile, ResetIsNeverAnswered) {
  Hostile guest;
  guest.driver.send(VsockDriver::packet(VsockOp::kReset, 1, 2));
  auto lost = VsockDriver::packet(VsockOp::kReset, 1, 2);
  lost.dst_cid = 9;
  guest.driver.send(lost);
  EXPECT_TRUE(guest.driver.receive_all().empty());
}

TEST(VsockHostile, SecondRequestForAStreamEndsIt) {
  Hostile guest;
  guest.driver.send(Hostile::packet(VsockOp::kRequest));
  guest.expect_ended();
}

TEST(VsockHostile, ResponseNobodyAskedForEndsTheStream) {
  Hostile guest;
  guest.driver.send(Hostile::packet(VsockOp::kResponse));
  guest.expect_ended();
}

TEST(VsockHostile, LengthBeyondTheChainEndsTheStream) {
  for (const uint32_t lie : {1U, 6U, 65536U, UINT32_MAX}) {
    Hostile guest;
    auto header = Hostile::packet(VsockOp::kData);
    header.len = lie;
    guest.driver.send_raw(header, lie == 6 ? "five!" : "");
    guest.expect_ended();
  }
}

TEST(VsockHostile, LengthShorterThanTheChainIsWhatCounts) {
  Hostile guest;
  auto header = Hostile::packet(VsockOp::kData);
  header.len = 3;
  guest.driver.send_raw(header, "abcdef");
  EXPECT_EQ(fake::read_now(guest.pair.host.get()), "abc");
}

TEST(VsockHostile, ChainWithoutAWholeHeaderIsGivenBack) {
  Hostile guest;
  auto& tx = guest.driver.transport.drivers[1];
  tx.add({{guest.driver.guest.allocate(44), 43}});
  guest.driver.notify(1);
  EXPECT_TRUE(tx.take_used());
  guest.expect_untouched();
}

TEST(VsockHostile, DataBeyondTheCreditEndsTheStream) {
  Hostile guest({.window = 1000});
  guest.driver.send(Hostile::packet(VsockOp::kData), std::string(1001, 'x'));
  guest.expect_ended();
}

// One buffer listed many times over: more bytes than any honest packet, in one chain.
TEST(VsockHostile, PacketLargerThanAnyBufferIsJudgedByCredit) {
  Hostile guest;
  auto header = Hostile::packet(VsockOp::kData);
  header.len = 100 * 65536;
  const Gpa head = guest.driver.guest.put_value(header);
  const Gpa body = guest.driver.guest.allocate(65536);
  std::vector<fake::DriverQueue::Part> parts{{head, sizeof(header)}};
  parts.insert(parts.end(), 100, {body, 65536});
  guest.driver.transport.drivers[1].add(parts);
  guest.driver.notify(1);
  guest.expect_ended();
}

TEST(VsockHostile, PacketOfManyPiecesBeyond64KibArrivesWhole) {
  Hostile guest;
  auto header = Hostile::packet(VsockOp::kData);
  header.len = 100 * 1500;
  const Gpa head = guest.driver.guest.put_value(header);
  std::vector<fake::DriverQueue::Part> parts{{head, sizeof(header)}};
  std::string sent;
  for (char i = 0; i < 100; ++i) {
    const std::vector<uint8_t> piece(1500, static_cast<uint8_t>(i));
    parts.push_back({guest.driver.guest.put(piece), 1500});
    sent.append(piece.begin(), piece.end());
  }
  guest.driver.transport.drivers[1].add(parts);
  guest.driver.notify(1);
  std::string got;
  for (int i = 0; i < 10; ++i) {
    got += fake::read_now(guest.pair.host.get());
    guest.driver.loop.turn_until_idle();
  }
  EXPECT_EQ(got, sent);
}

TEST(VsockHostile, ConsumingBytesThatWereNeverSentEndsTheStream) {
  Hostile guest;
  auto lie = Hostile::packet(VsockOp::kCreditUpdate);
  lie.fwd_cnt = 1;
  guest.driver.send(lie);
  guest.expect_ended();
}

TEST(VsockHostile, ShrinkingTheWindowOnlyStarvesTheGuest) {
  Hostile guest;
  auto poor = Hostile::packet(VsockOp::kCreditUpdate);
  poor.buf_alloc = 0;
  guest.driver.send(poor);
  fake::write_all(guest.pair.host.get(), "waiting");
  EXPECT_EQ(fake::payloads(guest.driver.receive_all()), "");
  EXPECT_EQ(guest.driver.loop.turn(), 0);
  EXPECT_EQ(guest.driver.device.connections(), 1U);
}

TEST(VsockHostile, FloodOfRefusedRequestsIsBounded) {
  VsockDriver driver;
  driver.activate();  // and not one receive buffer
  for (uint32_t port = 0; port < 5000; ++port) {
    driver.send(VsockDriver::packet(VsockOp::kRequest, port, 81));
  }
  EXPECT_EQ(driver.device.connections(), 0U);
  driver.give_buffers(32);
  EXPECT_EQ(driver.receive_all().size(), VsockDevice::kMaxResets);
  driver.send(VsockDriver::packet(VsockOp::kRequest, 1, 81));
  EXPECT_EQ(ops(driver.receive_all()), std::vector{VsockOp::kReset}) << "and it goes on afterwards";
}

TEST(VsockHostile, OpeningAndResettingWithoutBuffersLeavesNothingBehind) {
  VsockDriver driver;
  driver.device.set_connector([](uint32_t) -> Result<Fd> {
    StreamPair pair;
    return std::move(pair.device);
  });
  driver.activate();
  for (uint32_t i = 0; i < 5000; ++i) {
    driver.send(VsockDriver::packet(VsockOp::kRequest, 7, 80));
    driver.send(VsockDriver::packet(VsockOp::kReset, 7, 80));
  }
  EXPECT_EQ(driver.device.connections(), 0U);
  EXPECT_EQ(driver.loop.watched(), 0U);
  EXPECT_EQ(driver.loop.timers(), 0U);
}

TEST(VsockHostile, QuestionsToAnOpenerAreBoundedEvenIfTheGuestGivesUpOnEach) {
  VsockDriver driver;
  size_t asked = 0;
  driver.device.set_opener([&](uint32_t) { ++asked; });
  driver.start();
  for (int i = 0; i < 1000; ++i) {
    driver.send(VsockDriver::packet(VsockOp::kRequest, 5000, 7000));
    driver.send(VsockDriver::packet(VsockOp::kReset, 5000, 7000));
    if (i % 100 == 0) {
      driver.reset();
      driver.activate();
    }
  }
  EXPECT_EQ(asked, VsockDevice::kMaxWaiting);
  driver.device.opened(7000, Fd());
  driver.send(VsockDriver::packet(VsockOp::kRequest, 5001, 7000));
  EXPECT_EQ(asked, VsockDevice::kMaxWaiting + 1);
}

TEST(VsockHostile, AnAnsweredRequestCannotTakeThePlaceOfAStreamOfTheHost) {
  VsockDriver driver;
  StreamPair ours;
  StreamPair theirs;
  driver.device.set_opener([](uint32_t) {});
  driver.start();
  // The guest names the port that the host's next stream will have.
  driver.send(VsockDriver::packet(VsockOp::kRequest, 1024, VsockDevice::kFirstHostPort));
  driver.device.connect(1024, std::move(ours.device));
  EXPECT_EQ(ops(driver.receive_all()), std::vector{VsockOp::kRequest});
  driver.device.opened(VsockDevice::kFirstHostPort, std::move(theirs.device));
  EXPECT_TRUE(fake::at_end(theirs.host.get()));
  driver.send(VsockDriver::packet(VsockOp::kResponse, 1024, VsockDevice::kFirstHostPort));
  driver.send(VsockDriver::packet(VsockOp::kData, 1024, VsockDevice::kFirstHostPort), "ours");
  EXPECT_EQ(fake::read_now(ours.host.get()), "ours");
}

TEST(VsockHostile, OneNotificationDoesABoundedAmountOfWork) {
  Hostile guest;
  const Gpa head = guest.driver.guest.put_value(VsockDriver::packet(VsockOp::kReset, 1, 2));
  auto& tx = guest.driver.transport.drivers[1];
  for (int i = 0; i < 100; ++i) tx.add({{head, 44}});
  guest.driver.notify(1);
  int done = 0;
  while (tx.take_used()) ++done;
  EXPECT_LT(done, 100);
  guest.driver.loop.turn_until_idle();
  while (tx.take_used()) ++done;
  EXPECT_EQ(done, 100) << "and the rest follows without another one";
}

TEST(VsockHostile, ReceiveBuffersWithoutRoomComeBackEmpty) {
  VsockDriver driver;
  driver.start(4, 44);
  driver.give_buffers(4, 10);
  driver.give_buffers(4);
  driver.send(VsockDriver::packet(VsockOp::kRequest, 1, 81));
  EXPECT_EQ(ops(driver.receive(true)), std::vector{VsockOp::kReset});
  EXPECT_EQ(driver.empty_returns, 8);
}

TEST(VsockHostile, BrokenRingAsksForAResetOnce) {
  Hostile guest;
  guest.driver.transport.drivers[1].set_available_index(40'000);
  guest.driver.notify(1);
  EXPECT_TRUE(guest.driver.transport.needs_reset);
  guest.driver.transport.needs_reset = false;
  guest.driver.notify(1);
  guest.driver.loop.turn_until_idle();
  EXPECT_FALSE(guest.driver.transport.needs_reset);
}

TEST(VsockHostile, RandomPacketsNeitherCrashNorLeak) {
  std::mt19937_64 random(1);
  VsockDriver driver({.max_connections = 8, .window = 8192});
  std::vector<Fd> hosts;
  driver.device.set_connector([&hosts](uint32_t) -> Result<Fd> {
    StreamPair pair;
    hosts.push_back(std::move(pair.host));
    if (hosts.size() > 16) hosts.erase(hosts.begin());
    return std::move(pair.device);
  });
  driver.start();
  for (int i = 0; i < 50'000; ++i) {
    auto header = VsockDriver::packet(VsockOp{static_cast<uint16_t>(random() % 9)},
                                      static_cast<uint32_t>(random() % 4), 80);
    header.flags = static_cast<uint32_t>(random() % 4);
    header.buf_alloc = static_cast<uint32_t>(random() % 4096);
    header.len = static_cast<uint32_t>(random() % 2048);
    driver.send_raw(header, std::string(random() % 2048, 'x'));
    if (!hosts.empty()) {
      Fd& host = hosts[random() % hosts.size()];
      if (random() % 4 == 0) fake::read_now(host.get());
      if (random() % 4 == 0) (void)::send(host.get(), "some bytes", 10, MSG_NOSIGNAL);
      if (random() % 64 == 0) ::shutdown(host.get(), SHUT_WR);
    }
    if (random() % 3 == 0) driver.receive();
    if (random() % 4096 == 0) {
      driver.reset();
      driver.activate();
    }
    ASSERT_LE(driver.device.connections(), 8U);
  }
  hosts.clear();
  driver.reset();
  ASSERT_TRUE(driver.loop.turn_until_idle());
  EXPECT_EQ(driver.device.connections(), 0U);
  EXPECT_EQ(driver.loop.watched(), 0U);
  EXPECT_EQ(driver.loop.timers(), 0U);
}

}  // namespace
}  // namespace thimble

// The vsock device with an honest guest: opening, bulk data, closing, many streams, idleness.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <random>
#include <set>
#include <thread>

#include "tests/unit/devices/fake_vsock_driver.h"

namespace thimble {
namespace {

using fake::ops;
using fake::Packet;
using fake::payloads;
using fake::read_now;
using fake::StreamPair;
using fake::VsockDriver;
using fake::write_all;

std::string random_bytes(size_t count) {
  std::mt19937_64 random(count);
  std::string bytes(count, 0);
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

// A listener on `port` that accepts once with one end of `pair`.
void accept_once(VsockDriver& driver, uint32_t port, StreamPair& pair) {
  driver.device.listen(port, [&pair] { return std::move(pair.device); });
}

// An open stream of guest port 5000 and host port 80, begun by the guest.
struct GuestOpened {
  explicit GuestOpened(VsockDriver& in, uint32_t buf_alloc = 1U << 20) : driver(in) {
    accept_once(driver, 80, pair);
    auto request = VsockDriver::packet(VsockOp::kRequest, 5000, 80);
    request.buf_alloc = buf_alloc;
    driver.send(request);
    EXPECT_EQ(ops(driver.receive_all()), std::vector{VsockOp::kResponse});
  }
  VsockDriver& driver;
  StreamPair pair;
};

TEST(Vsock, ConfigurationSpaceIsTheGuestCid) {
  VsockDriver driver;
  uint64_t cid = 0;
  driver.device.read_config(0, std::span(reinterpret_cast<uint8_t*>(&cid), 8));
  EXPECT_EQ(cid, fake::kGuestCid);
  uint8_t beyond = 7;
  driver.device.read_config(8, {&beyond, 1});
  EXPECT_EQ(beyond, 7);
}

// ---- opening

TEST(Vsock, StreamRequestedBeforeTheDriverIsUpOpensAfterwards) {
  VsockDriver driver;
  StreamPair pair;
  driver.device.connect(1024, std::move(pair.device));
  write_all(pair.host.get(), "early");
  driver.reset();  // every driver begins with one
  driver.start();
  EXPECT_EQ(driver.answer_request(), VsockDevice::kFirstHostPort);
  EXPECT_EQ(payloads(driver.receive_all()), "early");
}

TEST(Vsock, RefusedStreamIsClosed) {
  VsockDriver driver;
  driver.start();
  StreamPair pair;
  driver.device.connect(1024, std::move(pair.device));
  const auto came = driver.receive_all();
  ASSERT_EQ(ops(came), std::vector{VsockOp::kRequest});
  driver.send(VsockDriver::packet(VsockOp::kReset, 1024, came[0].header.src_port));
  EXPECT_TRUE(fake::at_end(pair.host.get()));
  EXPECT_EQ(driver.device.connections(), 0U);
  EXPECT_TRUE(driver.receive_all().empty()) << "a reset is never answered";
}

TEST(Vsock, UnansweredRequestEndsAfterTheLimit) {
  VsockDriver driver({.connect_limit = std::chrono::milliseconds(20)});
  driver.start();
  StreamPair pair;
  driver.device.connect(1024, std::move(pair.device));
  EXPECT_EQ(ops(driver.receive_all()), std::vector{VsockOp::kRequest});
  ASSERT_TRUE(driver.loop.turn_until([&] { return driver.device.connections() == 0; }));
  EXPECT_TRUE(fake::at_end(pair.host.get()));
  EXPECT_EQ(ops(driver.receive_all()), std::vector{VsockOp::kReset});
  EXPECT_EQ(driver.loop.timers(), 0U);
}

TEST(Vsock, EachHostStreamGetsItsOwnHostPort) {
  VsockDriver driver;
  driver.start();
  std::vector<StreamPair> pairs(20);
  for (StreamPair& pair : pairs) driver.device.connect(1024, std::move(pair.device));
  std::set<uint32_t> ports;
  for (const Packet& packet : driver.receive_all()) ports.insert(packet.header.src_port);
  EXPECT_EQ(ports.size(), pairs.size());
  EXPECT_GE(*ports.begin(), VsockDevice::kFirstHostPort);
}

TEST(Vsock, GuestStreamToAListenerIsAccepted) {
  VsockDriver driver;
  driver.start();
  GuestOpened stream(driver);
  auto data = VsockDriver::packet(VsockOp::kData, 5000, 80);
  driver.send(data, "ready");
  EXPECT_EQ(read_now(stream.pair.host.get()), "ready");
}

TEST(Vsock, GuestStreamToNobodyIsRefused) {
  VsockDriver driver;
  driver.start();
  driver.send(VsockDriver::packet(VsockOp::kRequest, 5000, 81));
  const auto came = driver.receive_all();
  ASSERT_EQ(ops(came), std::vector{VsockOp::kReset});
  EXPECT_EQ(came[0].header.src_port, 81U);
  EXPECT_EQ(came[0].header.dst_port, 5000U);
}

TEST(Vsock, GuestStreamToAListenerThatDeclinesIsRefused) {
  VsockDriver driver;
  driver.device.listen(80, [] { return Fd(); });
  driver.start();
  driver.send(VsockDriver::packet(VsockOp::kRequest, 5000, 80));
  EXPECT_EQ(ops(driver.receive_all()), std::vector{VsockOp::kReset});
}

TEST(Vsock, AnnouncementThatIsAcceptedAndDroppedEndsInOrder) {
  VsockDriver driver;
  int announced = 0;
  driver.device.listen(1024, [&announced] {
    ++announced;
    StreamPair pair;
    return std::move(pair.device);
  });
  driver.start();
  driver.send(VsockDriver::packet(VsockOp::kRequest, 5000, 1024));
  auto close = VsockDriver::packet(VsockOp::kShutdown, 5000, 1024);
  close.flags = kShutdownBoth;
  driver.send(close);
  const auto came = driver.receive_all();
  EXPECT_EQ(came.front().header.op, VsockOp::kResponse);
  EXPECT_EQ(came.back().header.op, VsockOp::kReset);
  EXPECT_EQ(announced, 1);
  EXPECT_EQ(driver.device.connections(), 0U);
}

TEST(Vsock, PortsWithoutAListenerGoToTheConnector) {
  VsockDriver driver;
  StreamPair pair;
  uint32_t asked = 0;
  driver.device.set_connector([&](uint32_t port) -> Result<Fd> {
    asked = port;
    if (port != 7000) return fail("nobody there");
    return std::move(pair.device);
  });
  driver.start();
  driver.send(VsockDriver::packet(VsockOp::kRequest, 5000, 7000));
  EXPECT_EQ(asked, 7000U);
  EXPECT_EQ(ops(driver.receive_all()), std::vector{VsockOp::kResponse});
  driver.send(VsockDriver::packet(VsockOp::kRequest, 5000, 7001));
  EXPECT_EQ(ops(driver.receive_all()), std::vector{VsockOp::kReset});
}

// The host's end is opened by somebody else, who is asked and answers later.
TEST(Vsock, RequestWaitsForAnOpenerAndTakesItsAnswer) {
  VsockDriver driver;
  StreamPair pair;
  std::vector<uint32_t> asked;
  driver.device.set_opener([&](uint32_t port) { asked.push_back(port); });
  driver.start();
  driver.send(VsockDriver::packet(VsockOp::kRequest, 5000, 7000));
  driver.send(VsockDriver::packet(VsockOp::kRequest, 5000, 7000));  // the guest repeats itself
  driver.send(VsockDriver::packet(VsockOp::kRequest, 5001, 7001));
  EXPECT_EQ(asked, (std::vector<uint32_t>{7000, 7001}));
  EXPECT_TRUE(driver.receive_all().empty());
  driver.device.opened(7001, Fd());
  EXPECT_EQ(ops(driver.receive_all()), std::vector{VsockOp::kReset});
  driver.device.opened(7000, std::move(pair.device));
  EXPECT_EQ(ops(driver.receive_all()), std::vector{VsockOp::kResponse});
  EXPECT_EQ(driver.device.connections(), 1U);
}

TEST(Vsock, RequestThatGaveUpOrWasForgottenTakesNoAnswer) {
  VsockDriver driver;
  StreamPair late;
  StreamPair later;
  driver.device.set_opener([](uint32_t) {});
  driver.start();
  driver.send(VsockDriver::packet(VsockOp::kRequest, 5000, 7000));
  driver.send(VsockDriver::packet(VsockOp::kReset, 5000, 7000));
  driver.device.opened(7000, std::move(late.device));
  EXPECT_TRUE(fake::at_end(late.host.get()));
  driver.send(VsockDriver::packet(VsockOp::kRequest, 5000, 7000));
  driver.reset();
  driver.device.opened(7000, std::move(later.device));
  EXPECT_TRUE(fake::at_end(later.host.get()));
  EXPECT_EQ(driver.device.connections(), 0U);
}

TEST(Vsock, RequestsThatWaitAreBounded) {
  VsockDriver driver;
  size_t asked = 0;
  driver.device.set_opener([&](uint32_t) { ++asked; });
  driver.start();
  for (uint32_t port = 0; port < 2 * VsockDevice::kMaxWaiting; ++port) {
    driver.send(VsockDriver::packet(VsockOp::kRequest, 5000 + port, 7000));
  }
  EXPECT_EQ(asked, VsockDevice::kMaxWaiting);
  EXPECT_EQ(ops(driver.receive_all()).size(), VsockDevice::kMaxWaiting);
}

// ---- bulk

// Takes what comes, counts it as consumed at once, and tells so in tiny steps.
void receive_bulk(VsockDriver& driver, const std::string& sent, int host, uint32_t buf_alloc) {
  std::string got;
  size_t written = 0;
  int idle = 0;
  while (got.size() < sent.size() && idle < 1000) {
    if (written < sent.size()) {
      const ssize_t n =
          ::send(host, sent.data() + written, sent.size() - written, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n > 0) written += static_cast<size_t>(n);
    }
    const auto came = driver.receive();
    idle = came.empty() ? idle + 1 : 0;
    got += payloads(came);
    auto update = VsockDriver::packet(VsockOp::kCreditUpdate, 5000, 80);
    update.buf_alloc = buf_alloc;
    update.fwd_cnt = static_cast<uint32_t>(got.size());
    driver.send(update);
  }
  EXPECT_EQ(got.size(), sent.size());
  EXPECT_TRUE(got == sent);
}

TEST(Vsock, TenMebibytesReachTheGuestWithTinyCredit) {
  VsockDriver driver;
  driver.start();
  GuestOpened stream(driver, 5000);
  receive_bulk(driver, random_bytes(10 << 20), stream.pair.host.get(), 5000);
}

TEST(Vsock, TenMebibytesReachTheGuestThroughTwoSmallBuffers) {
  VsockDriver driver;
  driver.start(2, 1000);
  GuestOpened stream(driver);
  receive_bulk(driver, random_bytes(10 << 20), stream.pair.host.get(), 1 << 20);
}

// Sends only within the device's credit, as an honest guest does; the host reads only now and then.
void send_bulk(VsockDriver& driver, int host, uint32_t window, size_t packet_size) {
  const std::string sent = random_bytes(10 << 20);
  std::string got;
  uint32_t told = 0;
  size_t at = 0;
  int idle = 0;
  while (got.size() < sent.size() && idle < 1000) {
    const size_t free = window - (static_cast<uint32_t>(at) - told);
    const size_t piece = std::min({free, packet_size, sent.size() - at});
    if (piece > 0)
      driver.send(VsockDriver::packet(VsockOp::kData, 5000, 80),
                  std::string_view(sent).substr(at, piece));
    at += piece;
    for (const Packet& packet : driver.receive()) told = packet.header.fwd_cnt;
    const size_t before = got.size();
    if (piece == 0) got += read_now(host);
    idle = piece == 0 && got.size() == before ? idle + 1 : 0;
  }
  EXPECT_EQ(got.size(), sent.size());
  EXPECT_TRUE(got == sent);
  EXPECT_EQ(driver.device.connections(), 1U);
}

TEST(Vsock, TenMebibytesReachTheHostThroughATinyWindow) {
  VsockDriver driver({.window = 4096});
  driver.start();
  GuestOpened stream(driver);
  send_bulk(driver, stream.pair.host.get(), 4096, 1500);
}

TEST(Vsock, TenMebibytesReachAHostThatReadsSlowly) {
  VsockDriver driver({.window = 256 * 1024});
  driver.start();
  GuestOpened stream(driver);
  send_bulk(driver, stream.pair.host.get(), 256 * 1024, 65536);
}

// ---- closing

TEST(Vsock, GuestsCloseIsAnsweredByAReset) {
  VsockDriver driver;
  driver.start();
  GuestOpened stream(driver);
  driver.send(VsockDriver::packet(VsockOp::kData, 5000, 80), "bye");
  auto close = VsockDriver::packet(VsockOp::kShutdown, 5000, 80);
  close.flags = kShutdownBoth;
  driver.send(close);
  EXPECT_EQ(ops(driver.receive_all()), std::vector{VsockOp::kReset});
  bool ended = false;
  EXPECT_EQ(read_now(stream.pair.host.get(), &ended), "bye");
  EXPECT_TRUE(ended);
  EXPECT_EQ(driver.device.connections(), 0U);
  EXPECT_EQ(driver.loop.watched(), 0U);
}

TEST(Vsock, HostsCloseWaitsForTheGuestsReset) {
  VsockDriver driver;
  driver.start();
  GuestOpened stream(driver);
  write_all(stream.pair.host.get(), "bye");
  stream.pair.host.reset();
  const auto came = driver.receive_all();
  EXPECT_EQ(payloads(came), "bye");
  EXPECT_EQ(came.back().header.op, VsockOp::kShutdown);
  EXPECT_EQ(came.back().header.flags, kShutdownBoth);
  EXPECT_EQ(driver.device.connections(), 1U);
  driver.send(VsockDriver::packet(VsockOp::kReset, 5000, 80));
  EXPECT_EQ(driver.device.connections(), 0U);
  EXPECT_EQ(driver.loop.timers(), 0U);
  EXPECT_TRUE(driver.receive_all().empty());
}

TEST(Vsock, HostsCloseEndsAfterTheLimitWhenTheGuestIsSilent) {
  VsockDriver driver({.close_limit = std::chrono::milliseconds(20)});
  driver.start();
  GuestOpened stream(driver);
  stream.pair.host.reset();
  EXPECT_EQ(ops(driver.receive_all()).back(), VsockOp::kShutdown);
  ASSERT_TRUE(driver.loop.turn_until([&] { return driver.device.connections() == 0; }));
  EXPECT_EQ(ops(driver.receive_all()), std::vector{VsockOp::kReset});
}

TEST(Vsock, BytesThatWaitForCreditAreNotLostWhenTheHostCloses) {
  VsockDriver driver({.close_limit = std::chrono::milliseconds(5)});
  driver.start();
  GuestOpened stream(driver, 3);
  write_all(stream.pair.host.get(), "abcdef");
  stream.pair.host.reset();
  std::string got = payloads(driver.receive_all());
  EXPECT_EQ(got, "abc");
  driver.loop.turn_until([] { return false; }, std::chrono::milliseconds(20));
  auto update = VsockDriver::packet(VsockOp::kCreditUpdate, 5000, 80);
  update.buf_alloc = 3;
  update.fwd_cnt = 3;
  driver.send(update);
  EXPECT_EQ(payloads(driver.receive_all()), "def");
}

TEST(Vsock, GuestsHalfCloseLeavesTheHostsDirection) {
  VsockDriver driver;
  driver.start();
  GuestOpened stream(driver);
  auto half = VsockDriver::packet(VsockOp::kShutdown, 5000, 80);
  half.flags = kShutdownSend;
  driver.send(half);
  EXPECT_TRUE(fake::at_end(stream.pair.host.get()));
  write_all(stream.pair.host.get(), "answer");
  EXPECT_EQ(payloads(driver.receive_all()), "answer");
}

TEST(Vsock, HostsHalfCloseLeavesTheGuestsDirection) {
  VsockDriver driver;
  driver.start();
  GuestOpened stream(driver);
  write_all(stream.pair.host.get(), "question");
  ::shutdown(stream.pair.host.get(), SHUT_WR);
  const auto came = driver.receive_all();
  EXPECT_EQ(payloads(came), "question");
  EXPECT_EQ(came.back().header.flags, kShutdownSend);
  driver.send(VsockDriver::packet(VsockOp::kData, 5000, 80), "answer");
  EXPECT_EQ(read_now(stream.pair.host.get()), "answer");
}

TEST(Vsock, ClosedReaderIsToldToAnIdleGuest) {
  VsockDriver driver;
  driver.start();
  GuestOpened stream(driver);
  ::shutdown(stream.pair.host.get(), SHUT_WR);
  driver.receive_all();
  stream.pair.host.reset();
  const auto came = driver.receive_all();
  ASSERT_EQ(ops(came), std::vector{VsockOp::kShutdown});
  EXPECT_EQ(came[0].header.flags, kShutdownBoth);
}

TEST(Vsock, DriversResetClosesOpenStreams) {
  VsockDriver driver;
  driver.start();
  GuestOpened stream(driver);
  driver.reset();
  driver.loop.turn_until_idle();
  EXPECT_TRUE(fake::at_end(stream.pair.host.get()));
  EXPECT_EQ(driver.device.connections(), 0U);
  EXPECT_EQ(driver.loop.watched(), 0U);
}

TEST(Vsock, ResetAndNotifyFromAnotherThreadLeaveTheSocketsToTheLoop) {
  VsockDriver driver;
  driver.start();
  GuestOpened stream(driver);
  const size_t watched = driver.loop.watched();
  std::thread vcpu([&] {
    driver.reset();
    driver.activate();
    driver.notify(1);
  });
  vcpu.join();
  EXPECT_EQ(driver.loop.watched(), watched);
  driver.loop.turn_until_idle();
  EXPECT_EQ(driver.device.connections(), 0U);
}

TEST(Vsock, VcpuThatResetsAllTheTimeDoesNotDisturbTheLoop) {
  VsockDriver driver;
  driver.start();
  std::vector<StreamPair> pairs(50);
  std::atomic<bool> done = false;
  std::thread vcpu([&] {
    for (int i = 0; i < 500; ++i) {
      driver.reset();
      driver.activate();
      driver.notify(0);
      driver.notify(1);
    }
    done = true;
  });
  for (size_t i = 0; !done || i < pairs.size(); ++i) {
    if (i < pairs.size()) driver.device.connect(1024, std::move(pairs[i].device));
    driver.loop.turn();
  }
  vcpu.join();
  driver.reset();
  ASSERT_TRUE(driver.loop.turn_until_idle());
  // What is left are requests that no driver has seen.
  EXPECT_LE(driver.device.connections(), pairs.size());
  EXPECT_EQ(driver.loop.timers(), 0U);
}

TEST(Vsock, DestroyedDeviceLeavesNothingInTheLoop) {
  fake::Loop loop;
  StreamPair pair;
  {
    VsockDevice device(3, loop);
    device.connect(1024, std::move(pair.device));
  }
  loop.turn_until_idle();
  EXPECT_EQ(loop.watched(), 0U);
  EXPECT_EQ(loop.timers(), 0U);
  EXPECT_TRUE(fake::at_end(pair.host.get()));
}

// ---- many, and idle

TEST(Vsock, AThousandStreamsCarryTheirOwnBytes) {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  if (files.rlim_cur < 2200) GTEST_SKIP() << "needs 2200 descriptors";
  VsockDriver driver;
  driver.start();
  std::vector<StreamPair> pairs(1000);
  for (StreamPair& pair : pairs) driver.device.connect(1024, std::move(pair.device));
  std::vector<uint32_t> ports;
  for (const Packet& packet : driver.receive_all()) {
    ports.push_back(packet.header.src_port);
    driver.send(VsockDriver::packet(VsockOp::kResponse, 1024, ports.back()));
  }
  ASSERT_EQ(ports.size(), pairs.size());
  for (size_t i = 0; i < ports.size(); ++i) {
    write_all(pairs[i].host.get(), std::to_string(i));
    driver.send(VsockDriver::packet(VsockOp::kData, 1024, ports[i]), std::to_string(i + 5000));
  }
  std::map<uint32_t, std::string> got;
  for (const Packet& packet : driver.receive_all()) {
    got[packet.header.src_port] += packet.payload;
  }
  for (size_t i = 0; i < ports.size(); ++i) {
    EXPECT_EQ(got[VsockDevice::kFirstHostPort + static_cast<uint32_t>(i)], std::to_string(i));
    EXPECT_EQ(read_now(pairs[i].host.get()), std::to_string(i + 5000));
  }
}

TEST(Vsock, ConnectionsBeyondTheLimitAreRefusedBothWays) {
  VsockDriver driver({.max_connections = 2});
  std::vector<Fd> kept;
  driver.device.set_connector([&kept](uint32_t) -> Result<Fd> {
    StreamPair pair;
    kept.push_back(std::move(pair.host));
    return std::move(pair.device);
  });
  driver.start();
  for (uint32_t port = 1; port <= 3; ++port) {
    driver.send(VsockDriver::packet(VsockOp::kRequest, port, 80));
  }
  EXPECT_EQ(ops(driver.receive_all()),
            (std::vector{VsockOp::kResponse, VsockOp::kResponse, VsockOp::kReset}));
  StreamPair pair;
  driver.device.connect(1024, std::move(pair.device));
  EXPECT_TRUE(fake::at_end(pair.host.get()));
}

TEST(Vsock, BusyStreamDoesNotStarveAnother) {
  VsockDriver driver;
  driver.start(4);
  StreamPair busy;
  StreamPair quiet;
  driver.device.connect(1, std::move(busy.device));
  driver.device.connect(2, std::move(quiet.device));
  for (const Packet& packet : driver.receive_all()) {
    driver.send(
        VsockDriver::packet(VsockOp::kResponse, packet.header.dst_port, packet.header.src_port));
  }
  write_all(busy.host.get(), std::string(100'000, 'b'));
  write_all(quiet.host.get(), "q");
  // The busy one has 25 packets; one round of four may go by before the other is known to be ready.
  const auto early = payloads(driver.receive()) + payloads(driver.receive());
  EXPECT_NE(early.find('q'), std::string::npos);
}

TEST(Vsock, ControlPacketsOvertakeWaitingData) {
  VsockDriver driver;
  driver.start(1);
  GuestOpened stream(driver);
  write_all(stream.pair.host.get(), std::string(50'000, 'x'));
  EXPECT_EQ(ops(driver.receive(true)), std::vector{VsockOp::kData});  // the only buffer
  driver.send(VsockDriver::packet(VsockOp::kCreditRequest, 5000, 80));
  driver.send(VsockDriver::packet(VsockOp::kRequest, 6000, 99));
  driver.give_buffers(3);
  EXPECT_EQ(ops(driver.receive(true)),
            (std::vector{VsockOp::kReset, VsockOp::kCreditUpdate, VsockOp::kData}));
}

TEST(Vsock, ReadableSocketsCostNothingWhileTheGuestGivesNoBuffers) {
  VsockDriver driver;
  driver.start(1);
  GuestOpened stream(driver);
  driver.receive(true);
  write_all(stream.pair.host.get(), std::string(50'000, 'x'));
  driver.receive(true);  // takes the last buffer away
  ASSERT_TRUE(driver.loop.turn_until_idle(20));
  EXPECT_EQ(driver.loop.turn(), 0);
  driver.give_buffers(4);
  EXPECT_FALSE(driver.receive().empty()) << "and resumes when buffers come";
}

TEST(Vsock, ReadableAndClosedSocketsCostNothingWhileTheGuestGivesNoCredit) {
  VsockDriver driver;
  driver.start();
  GuestOpened stream(driver, 0);
  write_all(stream.pair.host.get(), "waiting");
  stream.pair.host.reset();
  driver.receive_all();
  ASSERT_TRUE(driver.loop.turn_until_idle(20));
  EXPECT_EQ(driver.loop.turn(), 0);
  driver.send(VsockDriver::packet(VsockOp::kCreditUpdate, 5000, 80));
  EXPECT_EQ(payloads(driver.receive_all()), "waiting") << "and resumes when credit comes";
}

TEST(Vsock, FullHostSocketCostsNothingUntilItIsRead) {
  VsockDriver driver;
  driver.start();
  GuestOpened stream(driver);
  const std::string chunk(32 * 1024, 'x');
  uint32_t told = 0;
  for (uint32_t sent = 0; sent - told + chunk.size() <= 256 * 1024; sent += chunk.size()) {
    driver.send(VsockDriver::packet(VsockOp::kData, 5000, 80), chunk);
    for (const Packet& packet : driver.receive_all()) told = packet.header.fwd_cnt;
  }
  EXPECT_EQ(driver.loop.turn(), 0);
}

TEST(Vsock, LookingAtAnEmptySocketUsesUpNoBuffer) {
  VsockDriver driver;
  driver.start(3);
  GuestOpened stream(driver);
  write_all(stream.pair.host.get(), std::string(4096, 'x'));  // fills one buffer exactly
  EXPECT_EQ(payloads(driver.receive(true)).size(), 4096U);
  write_all(stream.pair.host.get(), "1");
  EXPECT_EQ(payloads(driver.receive(true)), "1");
  write_all(stream.pair.host.get(), "2");
  EXPECT_EQ(payloads(driver.receive(true)), "2");
}

// With EVENT_IDX a driver notifies only when its index passes what the device asked for.
TEST(Vsock, DeviceAsksToBeNotifiedOfTheNextPacketAndTheNextBuffer) {
  VsockDriver driver({}, true);
  driver.start(1);
  GuestOpened stream(driver);
  driver.send(VsockDriver::packet(VsockOp::kData, 5000, 80), "hello");
  EXPECT_EQ(driver.transport.drivers[1].available_event(), 2);
  write_all(stream.pair.host.get(), std::string(20'000, 'x'));
  driver.receive(true);
  EXPECT_EQ(driver.transport.drivers[0].available_event(), 2);
}

TEST(Vsock, DriverThatWantsEventIndexIsServed) {
  VsockDriver driver({}, true);
  driver.start();
  GuestOpened stream(driver);
  write_all(stream.pair.host.get(), std::string(20'000, 'x'));
  EXPECT_EQ(payloads(driver.receive_all()).size(), 20'000U);
  driver.send(VsockDriver::packet(VsockOp::kData, 5000, 80), "hello");
  EXPECT_EQ(read_now(stream.pair.host.get()), "hello");
}

}  // namespace
}  // namespace thimble

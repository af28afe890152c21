// The broker's messages, and a hostile other end.
#include "pool/vm/broker.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <vector>

namespace thimble {
namespace {

size_t open_descriptors() {
  size_t n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    ++n;
  return n;
}

std::vector<uint8_t> datagram(uint32_t type, uint32_t value, std::string_view text = "") {
  std::vector<uint8_t> out(8 + text.size());
  std::memcpy(out.data(), &type, 4);
  std::memcpy(out.data() + 4, &value, 4);
  std::memcpy(out.data() + 8, text.data(), text.size());
  return out;
}

TEST(Broker, AMessageArrivesAsItWasSent) {
  auto pair = make_broker();
  ASSERT_TRUE(pair);
  ASSERT_TRUE(send_broker(pair->second.get(), BrokerType::kEnded, 2, "why"));
  auto got = receive_broker(pair->first.get(), BrokerSide::kParent, true);
  const auto* message = std::get_if<BrokerMessage>(&got);
  ASSERT_NE(message, nullptr);
  EXPECT_EQ(message->type, BrokerType::kEnded);
  EXPECT_EQ(message->value, 2U);
  EXPECT_EQ(message->text, "why");
}

TEST(Broker, TheLastWordsOfAnEndThatLeftSomethingUnreadArrive) {
  auto pair = make_broker();
  ASSERT_TRUE(pair);
  ASSERT_TRUE(send_broker(pair->first.get(), BrokerType::kPing, 1, ""));
  ASSERT_TRUE(send_broker(pair->second.get(), BrokerType::kEnded, 2, "why"));
  pair->second.reset();
  auto got = receive_broker(pair->first.get(), BrokerSide::kParent, true);
  const auto* message = std::get_if<BrokerMessage>(&got);
  ASSERT_NE(message, nullptr);
  EXPECT_EQ(message->text, "why");
  got = receive_broker(pair->first.get(), BrokerSide::kParent, true);
  EXPECT_TRUE(std::holds_alternative<BrokerClosed>(got));
}

TEST(Broker, AConnectCarriesItsStreamAndTheReceiverOwnsIt) {
  auto pair = make_broker();
  ASSERT_TRUE(pair);
  std::array<int, 2> pipe_ends{};
  ASSERT_EQ(::pipe2(pipe_ends.data(), O_CLOEXEC), 0);
  const Fd reader(pipe_ends[0]);
  Fd writer(pipe_ends[1]);
  ASSERT_TRUE(send_broker(pair->first.get(), BrokerType::kConnect, 1025, "", writer.get()));
  writer.reset();
  {
    auto got = receive_broker(pair->second.get(), BrokerSide::kVmm, true);
    auto* message = std::get_if<BrokerMessage>(&got);
    ASSERT_NE(message, nullptr);
    EXPECT_EQ(message->value, 1025U);
    EXPECT_EQ(::write(message->stream.get(), "x", 1), 1);
    EXPECT_NE(::fcntl(message->stream.get(), F_GETFD) & FD_CLOEXEC, 0);
  }
  char byte = 0;
  EXPECT_EQ(::read(reader.get(), &byte, 1), 1);
  EXPECT_EQ(::read(reader.get(), &byte, 1), 0) << "the last writer is gone with the message";
}

TEST(Broker, AClosedEndAndAnEmptySocketAreToldApart) {
  auto pair = make_broker();
  ASSERT_TRUE(pair);
  auto got = receive_broker(pair->first.get(), BrokerSide::kParent, false);
  EXPECT_TRUE(std::holds_alternative<BrokerEmpty>(got));
  pair->second.reset();
  got = receive_broker(pair->first.get(), BrokerSide::kParent, false);
  EXPECT_TRUE(std::holds_alternative<BrokerClosed>(got));
}

TEST(Broker, TheParentTakesNoMessageThatOnlyAParentSends) {
  EXPECT_FALSE(parse_broker(datagram(1, 1024), BrokerSide::kParent));
  EXPECT_TRUE(parse_broker(datagram(1, 1024), BrokerSide::kVmm));
  EXPECT_FALSE(parse_broker(datagram(65, 0), BrokerSide::kVmm));
}

TEST(Broker, MalformedMessagesAreErrors) {
  EXPECT_FALSE(parse_broker({}, BrokerSide::kParent));
  EXPECT_FALSE(parse_broker(std::vector<uint8_t>(7), BrokerSide::kParent));
  EXPECT_FALSE(parse_broker(datagram(0, 0), BrokerSide::kParent));
  EXPECT_FALSE(parse_broker(datagram(0xffffffff, 0), BrokerSide::kParent));
  EXPECT_FALSE(parse_broker(datagram(65, 1), BrokerSide::kParent)) << "ready has no value";
  EXPECT_FALSE(parse_broker(datagram(65, 0, "x"), BrokerSide::kParent)) << "ready has no text";
  const std::string long_text(kBrokerMaxText + 1, 'x');
  EXPECT_FALSE(parse_broker(datagram(68, 0, long_text), BrokerSide::kParent));
}

TEST(Broker, DescriptorsThatAVmmSendsDoNotPileUpInTheParent) {
  auto pair = make_broker();
  ASSERT_TRUE(pair);
  const size_t before = open_descriptors();
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(send_broker(pair->second.get(), BrokerType::kNotice, 0, "x", STDERR_FILENO));
    auto got = receive_broker(pair->first.get(), BrokerSide::kParent, true);
    EXPECT_TRUE(std::holds_alternative<BrokerMessage>(got));
  }
  EXPECT_EQ(open_descriptors(), before);
}

TEST(Broker, AConnectWithoutAStreamIsAnError) {
  auto pair = make_broker();
  ASSERT_TRUE(pair);
  ASSERT_TRUE(send_broker(pair->first.get(), BrokerType::kConnect, 1, ""));
  auto got = receive_broker(pair->second.get(), BrokerSide::kVmm, true);
  EXPECT_TRUE(std::holds_alternative<Error>(got));
}

TEST(Broker, AFullSocketDropsWhatNeedNotArrive) {
  auto pair = make_broker();
  ASSERT_TRUE(pair);
  const std::string line(1000, 'x');
  for (int i = 0; i < 5000; ++i) {
    ASSERT_TRUE(send_broker(pair->second.get(), BrokerType::kConsole, 0, line, -1, /*wait=*/false));
  }
}

}  // namespace
}  // namespace thimble

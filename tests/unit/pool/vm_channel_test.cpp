// The VM channel's messages, and a hostile other end.
#include "pool/vm/vm_channel.h"

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

TEST(VmChannel, AMessageArrivesAsItWasSent) {
  auto pair = make_vm_channel();
  ASSERT_TRUE(pair);
  ASSERT_TRUE(send_vm_message(pair->second.get(), VmMessageType::kEnded, 2, "why"));
  auto got = receive_vm_message(pair->first.get(), VmChannelSide::kParent, true);
  const auto* message = std::get_if<VmMessage>(&got);
  ASSERT_NE(message, nullptr);
  EXPECT_EQ(message->type, VmMessageType::kEnded);
  EXPECT_EQ(message->value, 2U);
  EXPECT_EQ(message->text, "why");
}

TEST(VmChannel, TheLastWordsOfAnEndThatLeftSomethingUnreadArrive) {
  auto pair = make_vm_channel();
  ASSERT_TRUE(pair);
  ASSERT_TRUE(send_vm_message(pair->first.get(), VmMessageType::kPing, 1, ""));
  ASSERT_TRUE(send_vm_message(pair->second.get(), VmMessageType::kEnded, 2, "why"));
  pair->second.reset();
  auto got = receive_vm_message(pair->first.get(), VmChannelSide::kParent, true);
  const auto* message = std::get_if<VmMessage>(&got);
  ASSERT_NE(message, nullptr);
  EXPECT_EQ(message->text, "why");
  got = receive_vm_message(pair->first.get(), VmChannelSide::kParent, true);
  EXPECT_TRUE(std::holds_alternative<VmChannelClosed>(got));
}

TEST(VmChannel, AConnectCarriesItsStreamAndTheReceiverOwnsIt) {
  auto pair = make_vm_channel();
  ASSERT_TRUE(pair);
  std::array<int, 2> pipe_ends{};
  ASSERT_EQ(::pipe2(pipe_ends.data(), O_CLOEXEC), 0);
  const Fd reader(pipe_ends[0]);
  Fd writer(pipe_ends[1]);
  ASSERT_TRUE(send_vm_message(pair->first.get(), VmMessageType::kConnect, 1025, "", writer.get()));
  writer.reset();
  {
    auto got = receive_vm_message(pair->second.get(), VmChannelSide::kVmm, true);
    auto* message = std::get_if<VmMessage>(&got);
    ASSERT_NE(message, nullptr);
    EXPECT_EQ(message->value, 1025U);
    EXPECT_EQ(::write(message->stream.get(), "x", 1), 1);
    EXPECT_NE(::fcntl(message->stream.get(), F_GETFD) & FD_CLOEXEC, 0);
  }
  char byte = 0;
  EXPECT_EQ(::read(reader.get(), &byte, 1), 1);
  EXPECT_EQ(::read(reader.get(), &byte, 1), 0) << "the last writer is gone with the message";
}

TEST(VmChannel, AClosedEndAndAnEmptySocketAreToldApart) {
  auto pair = make_vm_channel();
  ASSERT_TRUE(pair);
  auto got = receive_vm_message(pair->first.get(), VmChannelSide::kParent, false);
  EXPECT_TRUE(std::holds_alternative<VmChannelEmpty>(got));
  pair->second.reset();
  got = receive_vm_message(pair->first.get(), VmChannelSide::kParent, false);
  EXPECT_TRUE(std::holds_alternative<VmChannelClosed>(got));
}

TEST(VmChannel, TheParentTakesNoMessageThatOnlyAParentSends) {
  EXPECT_FALSE(parse_vm_message(datagram(1, 1024), VmChannelSide::kParent));
  EXPECT_TRUE(parse_vm_message(datagram(1, 1024), VmChannelSide::kVmm));
  EXPECT_FALSE(parse_vm_message(datagram(65, 0), VmChannelSide::kVmm));
}

TEST(VmChannel, MalformedMessagesAreErrors) {
  EXPECT_FALSE(parse_vm_message({}, VmChannelSide::kParent));
  EXPECT_FALSE(parse_vm_message(std::vector<uint8_t>(7), VmChannelSide::kParent));
  EXPECT_FALSE(parse_vm_message(datagram(0, 0), VmChannelSide::kParent));
  EXPECT_FALSE(parse_vm_message(datagram(0xffffffff, 0), VmChannelSide::kParent));
  EXPECT_FALSE(parse_vm_message(datagram(65, 1), VmChannelSide::kParent)) << "ready has no value";
  EXPECT_FALSE(parse_vm_message(datagram(65, 0, "x"), VmChannelSide::kParent))
      << "ready has no text";
  const std::string long_text(kVmChannelMaxText + 1, 'x');
  EXPECT_FALSE(parse_vm_message(datagram(68, 0, long_text), VmChannelSide::kParent));
}

TEST(VmChannel, DescriptorsThatAVmmSendsDoNotPileUpInTheParent) {
  auto pair = make_vm_channel();
  ASSERT_TRUE(pair);
  const size_t before = open_descriptors();
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(send_vm_message(pair->second.get(), VmMessageType::kNotice, 0, "x", STDERR_FILENO));
    auto got = receive_vm_message(pair->first.get(), VmChannelSide::kParent, true);
    EXPECT_TRUE(std::holds_alternative<VmMessage>(got));
  }
  EXPECT_EQ(open_descriptors(), before);
}

TEST(VmChannel, AConnectWithoutAStreamIsAnError) {
  auto pair = make_vm_channel();
  ASSERT_TRUE(pair);
  ASSERT_TRUE(send_vm_message(pair->first.get(), VmMessageType::kConnect, 1, ""));
  auto got = receive_vm_message(pair->second.get(), VmChannelSide::kVmm, true);
  EXPECT_TRUE(std::holds_alternative<Error>(got));
}

TEST(VmChannel, AFullSocketDropsWhatNeedNotArrive) {
  auto pair = make_vm_channel();
  ASSERT_TRUE(pair);
  const std::string line(1000, 'x');
  for (int i = 0; i < 5000; ++i) {
    ASSERT_TRUE(
        send_vm_message(pair->second.get(), VmMessageType::kConsole, 0, line, -1, /*wait=*/false));
  }
}

}  // namespace
}  // namespace thimble

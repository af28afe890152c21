// Requests for a process in a VM: written and read back, and what is none.
#include "pool/guest/exec_wire.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

namespace thimble {
namespace {

struct Sockets {
  Sockets() {
    std::array<int, 2> ends{-1, -1};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
    here = Fd(ends[0]);
    there = Fd(ends[1]);
  }
  Fd here;
  Fd there;
};

TEST(ExecWire, ARequestIsReadAsItWasWritten) {
  ExecRequest request;
  request.command = {"sh", "-c", "", "--", "\xff\n"};
  request.environment = {"A=1", "-=x", "env=2"};
  request.workdir = "/w";
  request.user = "1000:1000";
  request.terminal = protocol::Window{24, 65535};
  const Sockets sockets;
  ASSERT_TRUE(send_exec(sockets.here.get(), exec_words(request)));
  const auto received = receive_exec(sockets.there.get());
  const auto* message = std::get_if<ExecMessage>(&received);
  ASSERT_NE(message, nullptr);
  const auto read = parse_exec_request(message->words);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->command, request.command);
  EXPECT_EQ(read->environment, request.environment);
  EXPECT_EQ(read->workdir, "/w");
  EXPECT_EQ(read->user, "1000:1000");
  ASSERT_TRUE(read->terminal);
  EXPECT_EQ(read->terminal->columns, 65535);
}

TEST(ExecWire, WhatIsNoRequestIsRefused) {
  for (const ExecWords& words :
       std::initializer_list<ExecWords>{{},
                                        {"stop"},
                                        {"start"},
                                        {"start", "--"},
                                        {"start", "env"},
                                        {"start", "env", "A=1"},
                                        {"start", "env", "A", "--", "sh"},
                                        {"start", "env", "=1", "--", "sh"},
                                        {"start", "root", "yes", "--", "sh"},
                                        {"start", "terminal", "24", "--", "sh"},
                                        {"start", "terminal", "24", "65536", "--", "sh"},
                                        {"start", "terminal", "-1", "80", "--", "sh"},
                                        {"start", "terminal", "24", "80x", "--", "sh"},
                                        {"start", "sh"}}) {
    EXPECT_FALSE(parse_exec_request(words)) << (words.empty() ? "nothing" : words.back());
  }
}

TEST(ExecWire, WordsEndWithAZeroByte) {
  EXPECT_FALSE(parse_exec_words(""));
  EXPECT_FALSE(parse_exec_words("start"));
  EXPECT_EQ(parse_exec_words(std::string_view("\0", 1)), ExecWords{""});
  EXPECT_EQ(parse_exec_words(std::string_view("a\0\0b\0", 5)), (ExecWords{"a", "", "b"}));
}

TEST(ExecWire, StreamsComeWithTheirMessageAndCloseOverAnExec) {
  const Sockets sockets;
  ASSERT_TRUE(send_exec(sockets.here.get(), {"streams"}, std::array{0, 1}));
  const auto received = receive_exec(sockets.there.get());
  const auto* message = std::get_if<ExecMessage>(&received);
  ASSERT_NE(message, nullptr);
  ASSERT_EQ(message->streams.size(), 2u);
  EXPECT_EQ(::fcntl(message->streams[1].get(), F_GETFD), FD_CLOEXEC);
}

TEST(ExecWire, NothingWaitsAndTheEndIsSeen) {
  Sockets sockets;
  EXPECT_TRUE(std::holds_alternative<ExecNothing>(receive_exec(sockets.there.get())));
  EXPECT_FALSE(send_exec(sockets.here.get(), {std::string(kMaxExecMessage, 'x')}));
  EXPECT_EQ(errno, EMSGSIZE);
  EXPECT_EQ(::send(sockets.here.get(), "no words", 8, 0), 8);
  EXPECT_TRUE(std::holds_alternative<ExecGone>(receive_exec(sockets.there.get())));
  sockets.here.reset();
  EXPECT_TRUE(std::holds_alternative<ExecGone>(receive_exec(sockets.there.get())));
}

// More descriptors than anybody sends: none of them stays open.
TEST(ExecWire, TooManyDescriptorsAreClosed) {
  const Sockets sockets;
  std::array<int, 8> many{};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof many)> control{};
  char word = '\0';
  iovec part{&word, 1};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof many);
  std::memcpy(CMSG_DATA(header), many.data(), sizeof many);
  ASSERT_EQ(::sendmsg(sockets.here.get(), &message, 0), 1);
  const int next = ::dup(0);
  ::close(next);
  EXPECT_TRUE(std::holds_alternative<ExecGone>(receive_exec(sockets.there.get())));
  const int after = ::dup(0);
  EXPECT_EQ(after, next);
  ::close(after);
}

}  // namespace
}  // namespace thimble

// A VM's process: bound to its parent, silent, and not trusted.
#include "pool/vm/vm_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "pool/vm/console_tail.h"

namespace thimble {
namespace {

using Kind = VmEvent::Kind;

// Waits for the next event, ten seconds at most.
std::optional<VmEvent> wait_event(VmProcess& vm) {
  for (;;) {
    if (auto event = vm.next_event()) return event;
    pollfd ready{vm.poll_fd(), POLLIN, 0};
    if (::poll(&ready, 1, 10000) <= 0) return std::nullopt;
  }
}

bool process_is_gone(pid_t pid) {
  for (int i = 0; i < 500; ++i) {
    if (::kill(pid, 0) != 0) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

TEST(VmProcess, AKilledVmmIsReportedWithItsSignal) {
  auto vm = VmProcess::start(
      [](int) {
        ::raise(SIGKILL);
        return 0;
      },
      {}, true);
  ASSERT_TRUE(vm);
  auto event = wait_event(*vm);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->kind, Kind::kLost);
  EXPECT_NE(event->text.find("signal 9"), std::string::npos) << event->text;
  EXPECT_EQ(vm->poll_fd(), -1);
  EXPECT_FALSE(vm->next_event());
}

TEST(VmProcess, AMessageAgainstTheRulesEndsTheProcess) {
  auto vm = VmProcess::start(
      [](int channel) {
        (void)!::write(channel, "garbage that is no message", 26);
        ::pause();
        return 0;
      },
      {}, true);
  ASSERT_TRUE(vm);
  auto event = wait_event(*vm);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->kind, Kind::kLost);
}

TEST(VmProcess, AnUnknownEndIsAgainstTheRules) {
  auto vm = VmProcess::start(
      [](int channel) {
        (void)send_vm_message(channel, VmMessageType::kEnded, 1000, "x");
        return 0;
      },
      {}, true);
  ASSERT_TRUE(vm);
  auto event = wait_event(*vm);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->kind, Kind::kLost);
}

TEST(VmProcess, AProcessThatClosesItsChannelButLivesIsKilled) {
  auto vm = VmProcess::start(
      [](int channel) {
        ::close(channel);
        for (;;) ::pause();
        return 0;
      },
      {}, true);
  ASSERT_TRUE(vm);
  const pid_t pid = vm->pid();
  auto event = wait_event(*vm);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->kind, Kind::kLost);
  EXPECT_TRUE(process_is_gone(pid));
}

TEST(VmProcess, TheTailOfTheConsoleIsBoundedAndComesWithTheEnd) {
  auto vm = VmProcess::start(
      [](int channel) {
        for (size_t i = 0; i < ConsoleTail::kMaxLines; ++i) {
          (void)send_vm_message(channel, VmMessageType::kTail, 0, "\033line");
        }
        (void)send_vm_message(channel, VmMessageType::kEnded,
                              static_cast<uint32_t>(End::Kind::kReset), "why\nRIP: 0\033");
        return 0;
      },
      {}, true);
  ASSERT_TRUE(vm);
  auto event = wait_event(*vm);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->kind, Kind::kEnded);
  EXPECT_EQ(event->end, End::Kind::kReset);
  EXPECT_EQ(event->text, "why; RIP: 0\\x1b") << "all of it in one line";
  EXPECT_EQ(vm->console_tail().size(), ConsoleTail::kMaxLines);
  EXPECT_EQ(vm->console_tail().front(), "\\x1bline");
}

// It sends as fast as the parent reads: a parent that reads on would never do anything else.
TEST(VmProcess, ATailWithoutEndIsAgainstTheRules) {
  auto vm = VmProcess::start(
      [](int channel) {
        while (send_vm_message(channel, VmMessageType::kTail, 0, "line")) {
        }
        for (;;) ::pause();
        return 0;
      },
      {}, true);
  ASSERT_TRUE(vm);
  auto event = wait_event(*vm);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->kind, Kind::kLost);
  EXPECT_NE(event->text.find("last lines"), std::string::npos) << event->text;
}

TEST(VmProcess, AProcessThatNeverReadsItsChannelHoldsNobodyUp) {
  auto vm = VmProcess::start(
      [](int) {
        for (;;) ::pause();
        return 0;
      },
      {}, true);
  ASSERT_TRUE(vm);
  Result<Fd> stream = Fd();
  for (int i = 0; i < 1000; ++i) {
    stream = vm->connect(1024);
    ASSERT_TRUE(stream);
  }
  char byte = 0;
  EXPECT_EQ(::read(stream->get(), &byte, 1), 0) << "a stream that did not get through has ended";
}

TEST(VmProcess, AStreamReachesTheProcessWithItsPort) {
  auto vm = VmProcess::start(
      [](int channel) {
        auto got = receive_vm_message(channel, VmChannelSide::kVmm, true);
        auto* message = std::get_if<VmMessage>(&got);
        if (message == nullptr || message->value != 1024) return 1;
        (void)!::write(message->stream.get(), "hello", 5);
        return 0;
      },
      {}, true);
  ASSERT_TRUE(vm);
  auto stream = vm->connect(1024);
  ASSERT_TRUE(stream);
  pollfd ready{stream->get(), POLLIN, 0};
  ASSERT_EQ(::poll(&ready, 1, 10000), 1);
  std::array<char, 8> bytes{};
  EXPECT_EQ(::read(stream->get(), bytes.data(), bytes.size()), 5);
}

// The process of a VM whose guest asks for ports of the host: a byte for each answer, on the first
// stream that it is given, "s" for one with a stream and "-" for a refusal.
int ask_for_ports(int channel, std::initializer_list<uint32_t> ports) {
  Fd told;
  std::string answers;
  for (const uint32_t port : ports) {
    (void)send_vm_message(channel, VmMessageType::kOpen, port, "");
    auto got = receive_vm_message(channel, VmChannelSide::kVmm, true);
    auto* message = std::get_if<VmMessage>(&got);
    if (message == nullptr || message->type != VmMessageType::kOpened || message->value != port) {
      return 1;
    }
    answers += message->stream ? "s" : "-";
    if (!told) told = std::move(message->stream);
  }
  (void)!::write(told.get(), answers.data(), answers.size());
  return 0;
}

TEST(VmProcess, TheGuestGetsStreamsToPortsThatAreServedAndNoOthers) {
  auto vm = VmProcess::start(
      [](int channel) { return ask_for_ports(channel, {7, 8, 9, 7, 4294967295}); }, {}, true);
  ASSERT_TRUE(vm);
  std::vector<Fd> ends;
  vm->serve_port(7, [&]() -> Result<Fd> {
    auto pair = make_stream_pair();
    if (!pair) return std::unexpected(pair.error());
    ends.push_back(std::move(pair->first));
    return std::move(pair->second);
  });
  vm->serve_port(9, [] -> Result<Fd> { return fail("not now"); });
  const auto event = wait_event(*vm);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->kind, Kind::kLost);
  ASSERT_EQ(ends.size(), 2u);
  std::array<char, 8> answers{};
  EXPECT_EQ(::read(ends[0].get(), answers.data(), answers.size()), 5);
  EXPECT_STREQ(answers.data(), "s--s-");
}

TEST(VmProcess, KillingTheParentKillsTheProcess) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const pid_t parent = ::fork();
  if (parent == 0) {
    auto vm = VmProcess::start(
        [](int) {
          for (;;) ::pause();
          return 0;
        },
        {}, true);
    const pid_t pid = vm->pid();
    (void)!::write(ends[1], &pid, sizeof pid);
    for (;;) ::pause();
  }
  pid_t child = 0;
  ASSERT_EQ(::read(ends[0], &child, sizeof child), static_cast<ssize_t>(sizeof child));
  ASSERT_EQ(::kill(child, 0), 0);
  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);
  EXPECT_TRUE(process_is_gone(child));
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(VmProcess, ADestroyedVmProcessIsGone) {
  pid_t pid = 0;
  {
    auto vm = VmProcess::start(
        [](int) {
          for (;;) ::pause();
          return 0;
        },
        {}, true);
    ASSERT_TRUE(vm);
    pid = vm->pid();
  }
  EXPECT_NE(::kill(pid, 0), 0);
}

TEST(BoundChild, HasNoDescriptorsButThoseItWasGiven) {
  const Fd secret(::open("/proc/self/exe", O_RDONLY));
  const Fd given(::open("/dev/null", O_RDONLY));
  auto child = BoundChild::start(
      [&] {
        if (::fcntl(secret.get(), F_GETFD) >= 0) return 1;
        if (::fcntl(given.get(), F_GETFD) < 0) return 2;
        size_t n = 0;
        for ([[maybe_unused]] const auto& e : std::filesystem::directory_iterator("/proc/self/fd"))
          ++n;
        return n == 5 ? 0 : 3;  // 0, 1, 2, given, and the directory that is being read
      },
      std::array{given.get()}, false);
  ASSERT_TRUE(child);
  const auto status = child->wait_or_kill(std::chrono::seconds(10));
  ASSERT_TRUE(status);
  EXPECT_EQ(*status, 0) << describe_wait_status(*status);
}

TEST(BoundChild, IsOutOfReachOfTheTerminalsSignals) {
  auto child = BoundChild::start([] { return ::getsid(0) == ::getpid() ? 0 : 1; }, {}, false);
  ASSERT_TRUE(child);
  EXPECT_EQ(child->wait_or_kill(std::chrono::seconds(10)), 0);
}

}  // namespace
}  // namespace thimble

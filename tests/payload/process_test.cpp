// VMM processes: one whose guest floods its console while the reader sleeps, and hosts that make it
// hard to execute one.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <functional>

#include "pool/vm/vm_process.h"
#include "pool/vm/vmm_program.h"
#include "tests/payload/payload_machine.h"

namespace thimble::test {
namespace {

TEST(VmmProcess, AFloodWhoseReaderSleepsHoldsUpNothing) {
  auto console = make_stream_pair();
  ASSERT_TRUE(console);
  const int small = 4096;  // the stream is full soon
  ASSERT_EQ(setsockopt(console->second.get(), SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
  VmSpec spec;
  spec.machine = payload_options("serial_chatter");
  spec.console = std::move(console->second);
  auto vm = VmProcess::start(std::move(spec));
  ASSERT_TRUE(vm) << vm.error().message;
  std::optional<VmEvent> last;
  while (!last || last->kind == VmEvent::Kind::kNotice) {
    pollfd ready{vm->poll_fd(), POLLIN, 0};
    ASSERT_EQ(::poll(&ready, 1, 30000), 1) << "the machine hangs";
    if (auto event = vm->next_event()) last = std::move(event);
  }
  EXPECT_EQ(last->kind, VmEvent::Kind::kEnded) << last->text;
  EXPECT_EQ(last->end, End::Kind::kPowerOff) << last->text;
}

// 0 when a guest has run to its end.
int run_one() {
  VmSpec spec;
  spec.machine = payload_options("serial_hello");
  auto vm = VmProcess::start(std::move(spec));
  if (!vm) return 1;
  for (;;) {
    pollfd ready{vm->poll_fd(), POLLIN, 0};
    if (::poll(&ready, 1, 30000) != 1) return 2;
    const auto event = vm->next_event();
    if (!event || event->kind == VmEvent::Kind::kNotice || event->kind == VmEvent::Kind::kExposed) {
      continue;  // a layer that is missing in a world of the test's own
    }
    return event->kind == VmEvent::Kind::kEnded && event->end == End::Kind::kPowerOff ? 0 : 3;
  }
}

// The exit status of `body` in a child.
int status_of_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 100;
}

// From before the program is executed until long after. What is left holds the pipe open.
TEST(VmmProgram, AKilledParentLeavesNoProcess) {
  ASSERT_TRUE(vmm_program());
  for (int delay_us = 0; delay_us < 9000; delay_us += 300) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    const pid_t parent = ::fork();
    if (parent == 0) {
      ::close(ends[0]);
      VmSpec spec;
      spec.machine = payload_options("sleeping_echo");
      spec.trace = Fd(ends[1]);
      const auto vm = VmProcess::start(std::move(spec));
      while (vm) ::pause();
      ::_exit(EXIT_FAILURE);
    }
    ::close(ends[1]);
    ::usleep(static_cast<useconds_t>(delay_us));
    ::kill(parent, SIGKILL);
    int status = 0;
    ::waitpid(parent, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status)) << "it could start none";
    std::array<char, 4096> lines{};
    pollfd readable{ends[0], POLLIN, 0};
    int polled = 0;
    while ((polled = ::poll(&readable, 1, 10000)) == 1 &&
           ::read(ends[0], lines.data(), lines.size()) > 0) {
    }
    EXPECT_EQ(polled, 1) << "after " << delay_us << " us something lives on";
    ::close(ends[0]);
  }
}

// As processes do that go to the background. What took the program's number is not executed.
TEST(VmmProgram, IsMadeAgainWhenItsDescriptorWasClosed) {
  ASSERT_TRUE(vmm_program());
  EXPECT_EQ(status_of_child([] {
              ::close_range(3, ~0U, 0);
              for (int i = 0; i < 64; ++i) (void)::open("/bin/true", O_RDONLY | O_CLOEXEC);
              return run_one();
            }),
            0);
}

TEST(VmmProgram, CannotBeChanged) {
  const auto program = vmm_program();
  ASSERT_TRUE(program);
  EXPECT_LT(::pwrite(*program, "x", 1, 0), 0);
  EXPECT_NE(::ftruncate(*program, 0), 0);
}

// vm.memfd_noexec belongs to a pid namespace.
TEST(VmmProgram, ComesFromAFileWhereTheHostForbidsProgramsInMemory) {
  constexpr int kCannotForbid = 77;
  const int status = status_of_child([] {
    if (::unshare(CLONE_NEWPID) != 0) return kCannotForbid;
    return status_of_child([] {
      const Fd setting(::open("/proc/sys/vm/memfd_noexec", O_WRONLY | O_CLOEXEC));
      if (!setting || ::write(setting.get(), "2", 1) != 1) return kCannotForbid;
      ::close_range(3, ~0U, 0);  // with the one that this process has
      return run_one();
    });
  });
  if (status == kCannotForbid) GTEST_SKIP() << "this host, or user, cannot forbid them";
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace thimble::test

// A VMM process whose guest floods its console while the reader sleeps.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include "pool/vm/vm_process.h"
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

}  // namespace
}  // namespace thimble::test

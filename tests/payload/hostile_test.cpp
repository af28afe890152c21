// Guests that attack their devices. Each runs beside a neighbour in the same process, which must
// serve before and after; and the host must be as it was.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <thread>
#include <vector>

#include "tests/payload/payload_machine.h"

namespace thimble::test {
namespace {

constexpr uint64_t kSector = 512;

Fd make_disk(uint64_t sectors, uint8_t byte) {
  Fd file(memfd_create("disk", MFD_CLOEXEC));
  const std::vector<uint8_t> bytes(sectors * kSector, byte);
  EXPECT_EQ(pwrite(file.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  return file;
}

Disk disk_of(uint64_t sectors) {
  return {.file = make_disk(sectors, 0xd1), .read_only = false, .name = "disk"};
}

bool wait_for(Transcript& transcript, const std::string& text) {
  for (int i = 0; i < 2000; ++i) {
    if (transcript.text().find(text) != std::string::npos) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

// A machine that sleeps beside the attacked one and answers when it is spoken to.
class Neighbour {
 public:
  Neighbour() {
    MachineOptions options = payload_options("sleeping_echo");
    options.on_serial = [this](std::span<const uint8_t> bytes) { transcript_.add(bytes); };
    auto made = Machine::create(std::move(options));
    if (!made) {
      ADD_FAILURE() << made.error().message;
      return;
    }
    machine_ = std::move(*made);
    thread_ = std::thread([this] { end_ = machine_->run(); });
    EXPECT_TRUE(wait_for(transcript_, "ready\n"));
  }
  ~Neighbour() {
    if (!machine_) return;
    machine_->type("hello");
    EXPECT_TRUE(wait_for(transcript_, "hello")) << "the neighbour no longer serves";
    machine_->type("q");
    thread_.join();
    EXPECT_EQ(end_.kind, End::Kind::kPowerOff) << end_.message;
  }
  Neighbour(const Neighbour&) = delete;
  Neighbour& operator=(const Neighbour&) = delete;

 private:
  Transcript transcript_;
  std::unique_ptr<Machine> machine_;
  std::thread thread_;
  End end_;
};

class HostileGuest : public testing::Test {
 protected:
  static void expect_ok(const PayloadResult& result) {
    EXPECT_EQ(result.output, "ok\n");
    EXPECT_EQ(result.end.kind, End::Kind::kPowerOff) << result.end.message;
  }
  Neighbour neighbour_;
};

TEST_F(HostileGuest, ChainsThatLoopNeedAReset) { expect_ok(run_payload("hostile_chain_loop")); }

TEST_F(HostileGuest, BuffersAndRingsOutsideMemoryNeedAReset) {
  expect_ok(run_payload("hostile_addresses"));
}

TEST_F(HostileGuest, BuffersAreJudgedByTheByteAtTheHole) {
  MachineOptions options = payload_options("hostile_hole");
  options.memory_bytes = 0xd0000000ULL + (2ULL << 20);
  const auto host = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * 4096;
  if (host < options.memory_bytes) GTEST_SKIP() << "this host has less memory than such a guest";
  expect_ok(run_payload(std::move(options)));
}

TEST_F(HostileGuest, IndicesThatJumpNeedAReset) { expect_ok(run_payload("hostile_indices")); }

TEST_F(HostileGuest, IndirectTablesThatCannotBeNeedAReset) {
  expect_ok(run_payload("hostile_indirect"));
}

TEST_F(HostileGuest, DescriptorsThatChangeWhileReadHarmNobody) {
  expect_ok(run_payload("hostile_flip"));
}

TEST_F(HostileGuest, AQueueMovedWhileItRunsNeedsAReset) {
  expect_ok(run_payload("hostile_queue_move"));
}

TEST_F(HostileGuest, ResetsInTheMiddleOfRequestsLeaveNothingBehind) {
  MachineOptions options = payload_options("hostile_resets");
  options.disks.push_back(disk_of(256));
  expect_ok(run_payload(std::move(options)));
}

TEST_F(HostileGuest, DiskRequestsThatCannotBeAreRefused) {
  MachineOptions options = payload_options("hostile_disk_requests");
  options.disks.push_back(disk_of(128));
  expect_ok(run_payload(std::move(options)));
}

TEST_F(HostileGuest, NotificationStormsDoNotStopTheMachine) {
  MachineOptions options = payload_options("hostile_notify_storm");
  options.disks.push_back(disk_of(128));
  options.vsock.emplace();
  expect_ok(run_payload(std::move(options)));
}

TEST_F(HostileGuest, RandomRegistersEndWithAReset) {
  MachineOptions options = payload_options("hostile_registers");
  options.disks.push_back(disk_of(128));
  options.vsock.emplace();
  expect_ok(run_payload(std::move(options)));
}

// Streams to port 80 end in sockets that nobody reads.
MachineOptions vsock_options(const std::string& name, std::vector<Fd>& ends) {
  MachineOptions options = payload_options(name);
  options.vsock.emplace();
  options.guest_connect_ports = {80};
  options.on_guest_connect = [&ends](uint32_t) {
    int pair[2] = {-1, -1};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return Fd();
    ends.emplace_back(pair[1]);
    return Fd(pair[0]);
  };
  return options;
}

TEST_F(HostileGuest, ImpossibleCreditCostsTheStreamAndNothingElse) {
  std::vector<Fd> ends;
  expect_ok(run_payload(vsock_options("hostile_vsock_credit", ends)));
}

TEST_F(HostileGuest, AThousandConnectionsAreAnsweredAndBounded) {
  std::vector<Fd> ends;
  expect_ok(run_payload(vsock_options("hostile_vsock_connections", ends)));
  EXPECT_LE(ends.size(), 1023U);
}

TEST_F(HostileGuest, AnyRedirectionEntryIsTheGuestsOwnAffair) {
  expect_ok(run_payload("hostile_ioapic"));
}

TEST_F(HostileGuest, AnNmiNobodyHandlesEndsOnlyItsMachine) {
  const PayloadResult result = run_payload("hostile_nmi");
  EXPECT_EQ(result.end.kind, End::Kind::kTripleFault) << result.output << result.end.message;
}

TEST_F(HostileGuest, AnInitOfItsOwnCpuEndsOnlyItsMachine) {
  const PayloadResult result = run_payload("hostile_init");
  EXPECT_EQ(result.output, "restarting\n");
  EXPECT_EQ(result.end.kind, End::Kind::kInternalError) << result.end.message;
  EXPECT_NE(result.end.message.find("rip 000000000000fff0"), std::string::npos)
      << result.end.message;
}

}  // namespace
}  // namespace thimble::test

// Warm VMs: VM processes that wait for their claim, with the real jail, filters and /dev/kvm.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <array>
#include <fstream>
#include <string>
#include <vector>

#include "pool/vm/vm_process.h"
#include "tests/payload/warm_vm_files.h"

namespace thimble::test {
namespace {

using Kind = VmEvent::Kind;

// The next event that is no notice; nothing after half a minute.
std::optional<VmEvent> next_event(VmProcess& vm) {
  for (;;) {
    auto event = vm.next_event();
    if (event && event->kind != Kind::kNotice && event->kind != Kind::kExposed) return event;
    if (event) continue;
    pollfd ready{vm.poll_fd(), POLLIN, 0};
    if (vm.poll_fd() < 0 || ::poll(&ready, 1, 30000) != 1) return std::nullopt;
  }
}

Kind kind_of_next(VmProcess& vm) {
  const auto event = next_event(vm);
  EXPECT_TRUE(event);
  if (event && !event->text.empty()) ::testing::Test::RecordProperty("text", event->text);
  return event ? event->kind : Kind::kNotice;
}

// Frozen once: "q" is typed and ends each clone as soon as it runs.
const FrozenFiles& ending() {
  static const Result<FrozenFiles> files = frozen_payload("serial_echo", "q");
  return *files;
}
// … and one that sleeps for ever.
const FrozenFiles& sleeping() {
  static const Result<FrozenFiles> files = frozen_payload("sleeping_echo", "");
  return *files;
}

Result<VmProcess> prepared_warm_vm(const FrozenFiles& files) {
  auto vm = VmProcess::start(spec_of(files, true));
  if (!vm) return vm;
  const auto event = next_event(*vm);
  if (!event || event->kind != Kind::kPrepared) {
    return fail(event ? "no warm VM: " + event->text : "no warm VM");
  }
  return vm;
}

bool is_gone(pid_t pid) {
  for (int i = 0; i < 1000; ++i) {
    if (::kill(pid, 0) != 0) return true;
    ::poll(nullptr, 0, 10);
  }
  return false;
}

TEST(WarmVm, AClaimRunsTheTemplateToItsEnd) {
  auto vm = prepared_warm_vm(ending());
  ASSERT_TRUE(vm) << vm.error().message;
  ASSERT_TRUE(vm->claim(false));
  const auto event = next_event(*vm);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->kind, Kind::kEnded) << event->text;
  EXPECT_EQ(event->end, End::Kind::kPowerOff) << event->text;
}

TEST(WarmVm, NothingOfTheGuestRunsBeforeTheClaim) {
  auto vm = prepared_warm_vm(ending());
  ASSERT_TRUE(vm) << vm.error().message;
  pollfd ready{vm->poll_fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&ready, 1, 300), 0) << "the guest would have ended at once";
}

TEST(WarmVm, APingIsAnsweredBeforeAndAfterTheClaim) {
  auto vm = prepared_warm_vm(sleeping());
  ASSERT_TRUE(vm) << vm.error().message;
  ASSERT_TRUE(vm->ping(17));
  auto event = next_event(*vm);
  ASSERT_TRUE(event && event->kind == Kind::kPong);
  EXPECT_EQ(event->value, 17U);
  ASSERT_TRUE(vm->claim(false));
  ASSERT_TRUE(vm->ping(18));
  event = next_event(*vm);
  ASSERT_TRUE(event && event->kind == Kind::kPong) << (event ? event->text : "");
  EXPECT_EQ(event->value, 18U);
}

TEST(WarmVm, ASecondClaimChangesNothing) {
  auto vm = prepared_warm_vm(sleeping());
  ASSERT_TRUE(vm) << vm.error().message;
  ASSERT_TRUE(vm->claim(false));
  ASSERT_TRUE(vm->claim(false));
  ASSERT_TRUE(vm->ping(1));
  EXPECT_EQ(kind_of_next(*vm), Kind::kPong) << "it goes on";
}

TEST(WarmVm, AMessageForAGuestBeforeTheClaimEndsIt) {
  auto vm = prepared_warm_vm(sleeping());
  ASSERT_TRUE(vm) << vm.error().message;
  ASSERT_TRUE(vm->connect(1024));
  EXPECT_EQ(kind_of_next(*vm), Kind::kRefused);
}

TEST(WarmVm, GarbageOnItsChannelEndsIt) {
  auto vm = prepared_warm_vm(sleeping());
  ASSERT_TRUE(vm) << vm.error().message;
  const pid_t pid = vm->pid();
  const Fd channel = vm->hand_over();
  ASSERT_GT(::send(channel.get(), "no message at all", 17, MSG_NOSIGNAL), 0);
  pollfd gone{channel.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&gone, 1, 10000), 1);
  vm->kill();
  EXPECT_TRUE(is_gone(pid));
}

TEST(WarmVm, ItEndsWithItsParentWhetherClaimedOrNot) {
  for (const bool claimed : {false, true}) {
    std::array<int, 2> report{};
    ASSERT_EQ(::pipe2(report.data(), O_CLOEXEC), 0);
    sleeping();
    const pid_t parent = ::fork();
    if (parent == 0) {
      auto vm = prepared_warm_vm(sleeping());
      pid_t pid = vm ? vm->pid() : -1;
      if (vm && claimed && !vm->claim(false)) pid = -1;
      (void)!::write(report[1], &pid, sizeof pid);
      for (;;) ::pause();
    }
    pid_t pid = -1;
    ASSERT_EQ(::read(report[0], &pid, sizeof pid), static_cast<ssize_t>(sizeof pid));
    ASSERT_GT(pid, 0);
    EXPECT_EQ(::kill(pid, 0), 0);
    ::kill(parent, SIGKILL);
    ::waitpid(parent, nullptr, 0);
    EXPECT_TRUE(is_gone(pid)) << claimed;
    ::close(report[0]);
    ::close(report[1]);
  }
}

TEST(WarmVm, ATemplateThatWasCutMeanwhileIsRefusedAtTheClaim) {
  auto files = frozen_payload("serial_echo", "q");
  ASSERT_TRUE(files);
  auto vm = prepared_warm_vm(*files);
  ASSERT_TRUE(vm) << vm.error().message;
  ASSERT_EQ(::ftruncate(files->memory.get(), 4096), 0);
  ASSERT_TRUE(vm->claim(false));
  const auto event = next_event(*vm);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->kind, Kind::kRefused);
  EXPECT_NE(event->text.find("was cut"), std::string::npos) << event->text;
}

TEST(WarmVm, ACorruptTemplateIsRefusedBeforeTheClaim) {
  auto files = frozen_payload("serial_echo", "q");
  ASSERT_TRUE(files);
  ASSERT_EQ(::pwrite(files->state.get(), "x", 1, 300), 1);
  auto vm = VmProcess::start(spec_of(*files, true));
  ASSERT_TRUE(vm);
  EXPECT_EQ(kind_of_next(*vm), Kind::kRefused);
}

TEST(WarmVm, AWarmVmOfAnotherShapeIsRefusedBeforeTheClaim) {
  VmSpec spec = spec_of(ending(), true);
  spec.machine.vcpus = 2;
  auto vm = VmProcess::start(std::move(spec));
  ASSERT_TRUE(vm);
  EXPECT_EQ(kind_of_next(*vm), Kind::kRefused);
}

TEST(WarmVm, WithoutATemplateThereIsNone) {
  VmSpec spec;
  spec.warm = true;
  auto vm = VmProcess::start(std::move(spec));
  ASSERT_TRUE(vm);
  EXPECT_EQ(kind_of_next(*vm), Kind::kRefused);
}

// All its threads have a filter: the kernel says so for each.
TEST(WarmVm, EveryThreadIsFilteredBeforeTheClaim) {
  auto vm = prepared_warm_vm(sleeping());
  ASSERT_TRUE(vm) << vm.error().message;
  const std::string tasks = "/proc/" + std::to_string(vm->pid()) + "/task";
  size_t threads = 0;
  for (const auto& task : std::filesystem::directory_iterator(tasks)) {
    std::ifstream status(task.path() / "status");
    std::string line;
    std::string mode;
    while (std::getline(status, line)) {
      if (line.starts_with("Seccomp:")) mode = line.substr(line.size() - 1);
    }
    EXPECT_EQ(mode, "2") << task.path();
    ++threads;
  }
  EXPECT_GE(threads, 3U) << "event loop, vCPU, messenger";
}

// ---- adopted by another process than the one that made it

HandedOver hand_over(VmProcess& vm) {
  HandedOver handed;
  handed.pidfd = std::move(*vm.open_pidfd());
  handed.pid = vm.pid();
  handed.channel = vm.hand_over();
  return handed;
}

TEST(WarmVm, WhoAdoptsItHearsOfItsEnd) {
  auto vm = prepared_warm_vm(ending());
  ASSERT_TRUE(vm) << vm.error().message;
  ASSERT_TRUE(vm->claim(false));
  VmProcess adopted = VmProcess::adopt(hand_over(*vm));
  const auto event = next_event(adopted);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->kind, Kind::kEnded) << event->text;
}

TEST(WarmVm, WhoAdoptsItLearnsHowItWasKilled) {
  auto vm = prepared_warm_vm(sleeping());
  ASSERT_TRUE(vm) << vm.error().message;
  ASSERT_TRUE(vm->claim(false));
  HandedOver handed = hand_over(*vm);
  handed.exposed = "a layer\033";
  handed.how_it_ended = [&vm] { return describe_wait_status(vm->reap_if_gone().value_or(0)); };
  VmProcess adopted = VmProcess::adopt(std::move(handed));
  const auto exposed = adopted.next_event();
  ASSERT_TRUE(exposed && exposed->kind == Kind::kExposed);
  EXPECT_EQ(exposed->text, "a layer\\x1b");
  ::kill(vm->pid(), SIGKILL);
  const auto event = next_event(adopted);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->kind, Kind::kLost);
  EXPECT_NE(event->text.find("signal 9"), std::string::npos) << event->text;
}

TEST(WarmVm, WhoAdoptsItMayKillIt) {
  auto vm = prepared_warm_vm(sleeping());
  ASSERT_TRUE(vm) << vm.error().message;
  ASSERT_TRUE(vm->claim(false));
  {
    VmProcess adopted = VmProcess::adopt(hand_over(*vm));
  }
  std::optional<int> status;
  for (int i = 0; i < 1000 && !status; ++i) {
    status = vm->reap_if_gone();
    ::poll(nullptr, 0, 10);
  }
  ASSERT_TRUE(status);
  EXPECT_EQ(describe_wait_status(*status), "signal 9 (Killed)");
}

// The last one is "ok".
std::string line_before_last(const VmProcess& vm) {
  const auto& lines = vm.console_tail();
  return lines.size() < 2 ? "" : lines[lines.size() - 2];
}

// Every second stream to port 80 is granted, with a word on it; what the guest made of that.
std::string answers_of(VmProcess& vm) {
  int asked = 0;
  std::vector<Fd> ends;
  vm.serve_port(80, [&]() -> Result<Fd> {
    if (asked++ % 2 == 1) return fail("not this one");
    auto pair = make_stream_pair();
    if (!pair) return std::unexpected(pair.error());
    (void)!::write(pair->first.get(), "word", 4);
    ends.push_back(std::move(pair->first));
    return std::move(pair->second);
  });
  const auto event = next_event(vm);
  if (!event || event->kind != Kind::kEnded) return "it did not end by itself";
  return line_before_last(vm);
}

TEST(HostPorts, AGuestGetsTheStreamsThatItsHostGrants) {
  VmSpec spec;
  spec.machine = payload_options("vsock_asks_host");
  spec.machine.vsock.emplace();
  auto console = make_stream_pair();
  ASSERT_TRUE(console);
  spec.console = std::move(console->second);
  auto vm = VmProcess::start(std::move(spec));
  ASSERT_TRUE(vm) << vm.error().message;
  EXPECT_EQ(::write(console->first.get(), "x", 1), 1);
  EXPECT_EQ(answers_of(*vm), "y:ny:ny:ny:ny:n");
}

TEST(HostPorts, ACloneGetsThoseOfTheHostThatClaimedIt) {
  const auto files = frozen_payload("vsock_asks_host", "x");
  ASSERT_TRUE(files) << files.error().message;
  auto vm = prepared_warm_vm(*files);
  ASSERT_TRUE(vm) << vm.error().message;
  ASSERT_TRUE(vm->claim(false));
  EXPECT_EQ(answers_of(*vm), "y:ny:ny:ny:ny:n");
}

TEST(HostPorts, WhatNobodyServesIsRefused) {
  const auto files = frozen_payload("vsock_asks_host", "x");
  ASSERT_TRUE(files) << files.error().message;
  auto vm = VmProcess::start(spec_of(*files, false));
  ASSERT_TRUE(vm) << vm.error().message;
  vm->serve_port(81, []() -> Result<Fd> { return fail("another port"); });
  const auto event = next_event(*vm);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->kind, Kind::kEnded) << event->text;
  EXPECT_EQ(line_before_last(*vm), "nnnnnnnnnn");
}

}  // namespace
}  // namespace thimble::test

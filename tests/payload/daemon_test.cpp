// The daemon with real VMs of payload guests: claims, returns, and what remains when somebody dies.
// CLAIMS=10000 build/tests/payload --gtest_filter='*LeaveNothing*' tells the rate.
#include <fcntl.h>

#include <cstdlib>

#include "tests/payload/daemon_vms.h"

namespace thimble::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using Kind = VmEvent::Kind;
using nlohmann::json;

TEST_F(DaemonVms, AClaimedVmRunsAndItsEndReachesTheClient) {
  start();
  auto claimed = claim("ends");
  ASSERT_TRUE(claimed.vm) << claimed.refused << claimed.unreachable;
  const VmEvent end = last_event(*claimed.vm);
  EXPECT_EQ(end.kind, Kind::kEnded) << end.text;
  EXPECT_EQ(end.end, End::Kind::kPowerOff);
  EXPECT_TRUE(wait_for("ready", 1)) << "another one waits";
}

TEST_F(DaemonVms, AVmIsKilledWhenItsClientClosesTheConnection) {
  start();
  pid_t pid = -1;
  {
    auto claimed = claim("sleeps");
    ASSERT_TRUE(claimed.vm) << claimed.refused << claimed.unreachable;
    pid = claimed.vm->pid();
    EXPECT_EQ(::kill(pid, 0), 0);
  }
  EXPECT_TRUE(is_gone(pid));
  EXPECT_TRUE(wait_for("claimed", 0));
}

TEST_F(DaemonVms, AKilledClientLeavesNoVm) {
  start();
  const pid_t client = ::fork();
  if (client == 0) {
    auto claimed = claim("sleeps");
    for (;;) ::pause();
  }
  ASSERT_TRUE(wait_for("claimed", 1));
  const pid_t vm = pids_in("claimed")[0];
  ::kill(client, SIGKILL);
  ::waitpid(client, nullptr, 0);
  EXPECT_TRUE(is_gone(vm));
  EXPECT_TRUE(claim("ends").vm);
}

TEST_F(DaemonVms, AClientThatVanishesBeforeItsAnswerLeavesNoVm) {
  start();
  {
    auto client = DaemonClient::connect(*OwnedFolder::open(folder_));
    ASSERT_TRUE(client && *client);
    EXPECT_FALSE((*client)->ask({.op = DaemonRequest::Op::kClaim,
                                 .id = {store_, "sleeps"},
                                 .console = false,
                                 .label = {},
                                 .warm_vms = 0},
                                0ms));
  }
  EXPECT_TRUE(wait_for("claimed", 0));
  EXPECT_TRUE(claim("sleeps").vm);
}

TEST_F(DaemonVms, AVmThatIsKilledIsToldWithItsSignalAndHurtsNobodyElse) {
  start();
  auto victim = claim("sleeps");
  auto other = claim("sleeps");
  ASSERT_TRUE(victim.vm && other.vm);
  ::kill(victim.vm->pid(), SIGKILL);
  const VmEvent end = last_event(*victim.vm);
  EXPECT_EQ(end.kind, Kind::kLost);
  EXPECT_NE(end.text.find("signal 9"), std::string::npos) << end.text;
  EXPECT_EQ(::kill(other.vm->pid(), 0), 0);
  ASSERT_TRUE(other.vm->ping(1));
  EXPECT_TRUE(claim("ends").vm);
}

TEST_F(DaemonVms, WarmVmsThatAreKilledAreReplaced) {
  start();
  ASSERT_TRUE(claim("ends").vm);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(wait_for("ready", 1));
    const pid_t warm_vm = pids_in("ready")[0];
    ::kill(warm_vm, SIGKILL);
    EXPECT_TRUE(is_gone(warm_vm));
    auto claimed = claim("ends");
    ASSERT_TRUE(claimed.vm) << claimed.refused << claimed.unreachable;
    const VmEvent end = last_event(*claimed.vm);
    EXPECT_EQ(end.kind, Kind::kEnded) << end.text;
  }
}

TEST_F(DaemonVms, WhenTheDaemonIsKilledEveryVmEndsAndTheNextOneStartsClean) {
  start();
  auto running = claim("sleeps");
  ASSERT_TRUE(running.vm);
  ASSERT_TRUE(wait_for("ready", 1));
  const pid_t warm_vm = pids_in("ready")[0];
  const pid_t vm = running.vm->pid();
  kill_daemon();
  EXPECT_TRUE(is_gone(warm_vm));
  EXPECT_TRUE(is_gone(vm));
  const VmEvent end = last_event(*running.vm);
  EXPECT_EQ(end.kind, Kind::kLost);
  EXPECT_NE(end.text.find("the daemon that held it"), std::string::npos) << end.text;
  EXPECT_FALSE(claim("ends").vm) << "nobody is there";
  start();
  auto next = claim("ends");
  ASSERT_TRUE(next.vm) << next.refused << next.unreachable;
  EXPECT_EQ(last_event(*next.vm).kind, Kind::kEnded);
}

TEST_F(DaemonVms, AStormAboveTheMaximumIsServedUpToItAndRefusedBeyond) {
  DaemonOptions options;
  options.limits.max_vms = 5;
  start(std::move(options));
  constexpr int kClients = 20;
  std::array<int, 2> results{};
  ASSERT_EQ(::pipe(results.data()), 0);
  std::vector<pid_t> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.push_back(::fork());
    if (clients.back() != 0) continue;
    auto claimed = claim("sleeps");
    const bool limit = claimed.refused.find("the most that the pool allows") != std::string::npos;
    const char result = claimed.vm ? 'v' : limit ? 'l' : '?';
    (void)!::write(results[1], &result, 1);
    for (;;) ::pause();
  }
  std::string all(kClients, 0);
  for (char& one : all) ASSERT_EQ(::read(results[0], &one, 1), 1);
  EXPECT_EQ(std::ranges::count(all, 'v'), 5) << all;
  EXPECT_EQ(std::ranges::count(all, 'l'), kClients - 5) << all;
  for (const pid_t client : clients) {
    ::kill(client, SIGKILL);
    ::waitpid(client, nullptr, 0);
  }
  EXPECT_TRUE(wait_for("claimed", 0));
  EXPECT_TRUE(claim("ends").vm) << "there is room again";
  ::close(results[0]);
  ::close(results[1]);
}

TEST_F(DaemonVms, ARemovedTemplateIsRefusedAndItsClonesGoOn) {
  start();
  auto running = claim("sleeps");
  ASSERT_TRUE(running.vm);
  ASSERT_TRUE(wait_for("ready", 1));
  auto store = TemplateStore::open(store_);
  ASSERT_TRUE(store && store->remove("sleeps"));
  const auto after = claim("sleeps");
  EXPECT_FALSE(after.vm);
  EXPECT_NE(after.refused.find("no template sleeps"), std::string::npos) << after.refused;
  EXPECT_TRUE(wait_for("ready", 0));
  ASSERT_TRUE(running.vm->ping(7));
  pollfd ready{running.vm->poll_fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&ready, 1, 10000), 1);
  const auto pong = running.vm->next_event();
  ASSERT_TRUE(pong);
  EXPECT_EQ(pong->kind, Kind::kPong) << pong->text;
}

TEST_F(DaemonVms, AReplacedTemplateIsTheOneThatIsClaimed) {
  start();
  ASSERT_TRUE(claim("ends").vm);
  ASSERT_TRUE(wait_for("ready", 1));
  const pid_t old_warm_vm = pids_in("ready")[0];
  make_template("ends", "sleeping_echo", "");
  auto claimed = claim("ends");
  ASSERT_TRUE(claimed.vm) << claimed.refused << claimed.unreachable;
  EXPECT_TRUE(is_gone(old_warm_vm));
  ASSERT_TRUE(claimed.vm->ping(1));
  ::usleep(300000);
  EXPECT_EQ(::kill(claimed.vm->pid(), 0), 0) << "the new one sleeps";
}

TEST_F(DaemonVms, ATemplateThatWasCutUnderAWarmVmFailsItsClaimAndIsThenRefusedWithTheReason) {
  start();
  ASSERT_TRUE(claim("ends").vm);
  ASSERT_TRUE(wait_for("ready", 1));
  fs::permissions(store_ + "/ends/memory", fs::perms::owner_all);
  fs::resize_file(store_ + "/ends/memory", 4096);
  auto first = claim("ends");
  ASSERT_TRUE(first.vm) << first.refused;
  const VmEvent end = last_event(*first.vm);
  EXPECT_EQ(end.kind, Kind::kRefused) << end.text;
  std::string refused;
  for (int i = 0; i < 5 && refused.empty(); ++i) refused = claim("ends").refused;
  EXPECT_NE(refused.find("memory file"), std::string::npos) << refused;
}

TEST_F(DaemonVms, ATemplateWhoseClonesDieRightAfterTheRestoreIsLeftAloneAndTheRefusalSaysWhy) {
  make_template("dies", "crash_on_input", "x");
  start();
  for (int i = 0; i < 2; ++i) {
    auto claimed = claim("dies");
    ASSERT_TRUE(claimed.vm) << claimed.refused << claimed.unreachable;
    const VmEvent end = last_event(*claimed.vm);
    EXPECT_EQ(end.kind, Kind::kEnded) << end.text;
    EXPECT_EQ(end.end, End::Kind::kTripleFault) << end.text;
  }  // each client leaves as soon as it has heard
  const auto third = claim("dies");
  EXPECT_FALSE(third.vm);
  EXPECT_NE(third.refused.find("fail right after their start"), std::string::npos) << third.refused;
  EXPECT_NE(third.refused.find("tried again in 1 s"), std::string::npos) << third.refused;
  EXPECT_TRUE(wait_for("claimed", 0));
  EXPECT_TRUE(claim("ends").vm) << "other templates do not suffer";
  ::usleep(1'100'000);
  EXPECT_TRUE(claim("dies").vm) << "it is tried again";
}

// Both ways of hanging: a warm VM is asked now and then whether it is there.
TEST_F(DaemonVms, AWarmVmThatHangsIsFoundAndReplaced) {
  DaemonOptions options;
  options.limits.probe_every = 500ms;
  options.limits.probe_timeout = 1s;
  start(std::move(options));
  ASSERT_TRUE(claim("ends").vm);
  ASSERT_TRUE(wait_for("ready", 1));
  const pid_t hung = pids_in("ready")[0];
  ::kill(hung, SIGSTOP);
  EXPECT_TRUE(is_gone(hung)) << "a stopped process is killed, too";
  auto claimed = claim("ends");
  ASSERT_TRUE(claimed.vm) << claimed.refused << claimed.unreachable;
  EXPECT_EQ(last_event(*claimed.vm).kind, Kind::kEnded);
}

// As when the host was suspended while its clocks went on: the first look at the time afterwards
// finds nobody late.
TEST_F(DaemonVms, AfterAPauseOfAllProcessesNobodyIsTakenForHung) {
  DaemonOptions options;
  options.limits.probe_every = 200ms;
  options.limits.probe_timeout = 1s;
  options.limits.prepare_timeout = 2s;
  options.request_timeout = 2s;
  start(std::move(options));
  auto running = claim("sleeps");
  ASSERT_TRUE(running.vm);
  ASSERT_TRUE(wait_for("ready", 1));
  const pid_t warm_vm = pids_in("ready")[0];
  ::usleep(300'000);  // it has been asked by now, or is about to be
  std::vector<pid_t> all = {warm_vm, running.vm->pid(), pid_};
  for (const pid_t pid : all) ::kill(pid, SIGSTOP);
  ::usleep(3'300'000);
  std::ranges::reverse(all);  // the daemon goes on first: the others are late
  for (const pid_t pid : all) {
    ::kill(pid, SIGCONT);
    ::usleep(100'000);
  }
  ::usleep(1'200'000);
  EXPECT_EQ(pids_in("ready"), std::vector<pid_t>{warm_vm});
  ASSERT_TRUE(running.vm->ping(1));
  pollfd ready{running.vm->poll_fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&ready, 1, 10000), 1);
  const auto pong = running.vm->next_event();
  ASSERT_TRUE(pong);
  EXPECT_EQ(pong->kind, Kind::kPong) << pong->text;
}

// Alternately clones that end by themselves and clones that are given back while they run.
TEST_F(DaemonVms, ManyClaimsAndReturnsLeaveNothingBehind) {
  const char* wanted = std::getenv("CLAIMS");
  const int claims = wanted != nullptr ? std::atoi(wanted) : 150;
  start();
  const auto one = [this](int i) {
    auto claimed = claim(i % 2 == 0 ? "ends" : "sleeps");
    ASSERT_TRUE(claimed.vm) << i << ": " << claimed.refused << claimed.unreachable;
    if (i % 2 != 0) return;
    const VmEvent end = last_event(*claimed.vm);
    ASSERT_EQ(end.kind, Kind::kEnded) << i << ": " << end.text;
  };
  const std::string proc = "/proc/" + std::to_string(pid_);
  struct Left {
    size_t children, descriptors, mappings, files;
  };
  const auto settle = [&] {
    wait_for("claimed", 0);
    wait_for("dying", 0);
    wait_for("preparing", 0);
    ::usleep(500000);
    wait_for("preparing", 0);
    const auto children = "/task/" + std::to_string(pid_) + "/children";
    std::ifstream file(proc + children);
    const std::istream_iterator<pid_t> begin(file);
    return Left{static_cast<size_t>(std::distance(begin, {})), entries_of(proc + "/fd"),
                lines_of(proc + "/maps"), entries_of(folder_)};
  };
  for (int i = 0; i < 30 && !HasFatalFailure(); ++i) one(i);
  const Left before = settle();
  const size_t own = entries_of("/proc/self/fd");
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < claims && !HasFatalFailure(); ++i) one(i);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  const Left after = settle();
  std::printf("pool_claims_per_second %.1f\n", claims / took.count());
  // Warm VMs that wait are no remains: as many as the pool says.
  const size_t warm_vms = pids_in("ready").size();
  EXPECT_EQ(after.children, warm_vms);
  EXPECT_LE(after.descriptors, before.descriptors + 4 * warm_vms);
  EXPECT_LE(after.mappings, before.mappings + 20);
  EXPECT_EQ(after.files, before.files);
  EXPECT_EQ(entries_of("/proc/self/fd"), own);
}

}  // namespace
}  // namespace thimble::test

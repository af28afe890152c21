// The daemon with real VMs of payload guests: claims, returns, and what remains when somebody dies.
// CLAIMS=10000 build/tests/payload --gtest_filter='*LeaveNothing*' tells the rate.
#include "pool/daemon.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "pool/daemon_client.h"
#include "pool/daemon_start.h"
#include "pool/runtime_folder.h"
#include "pool/template.h"
#include "tests/payload/shell_files.h"

namespace thimble::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using Kind = VmEvent::Kind;
using nlohmann::json;

// With all of its threads; a process whose parent was killed may still wait to be reaped.
bool is_gone(pid_t pid) {
  const Fd handle(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  pollfd ended{handle.get(), POLLIN, 0};
  return !handle || ::poll(&ended, 1, 10000) == 1;
}

size_t entries_of(const std::string& folder) {
  std::error_code code;
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder, code), {}));
}

size_t lines_of(const std::string& path) {
  std::ifstream file(path);
  return static_cast<size_t>(std::count(std::istreambuf_iterator<char>(file), {}, '\n'));
}

class DaemonVms : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "thimble-pool.XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    store_ = folder_ + "/templates";
    make_template("ends", "serial_echo", "q");
    make_template("sleeps", "sleeping_echo", "");
  }
  void TearDown() override {
    kill_daemon();
    fs::remove_all(folder_);
  }

  void make_template(const std::string& name, const std::string& payload, std::string_view typed) {
    auto store = TemplateStore::open(store_);
    ASSERT_TRUE(store) << store.error().message;
    auto frozen = frozen_payload(payload, typed);
    ASSERT_TRUE(frozen) << frozen.error().message;
    auto draft = store->draft(name);
    ASSERT_TRUE(draft) << draft.error().message;
    {
      auto files = draft->files();
      ASSERT_TRUE(files);
      copy(frozen->state, files->state);
      copy(frozen->memory, files->memory);
    }
    TemplateFacts facts;
    facts.memory_bytes = kShellMemory;
    facts.server.arguments = {"payload"};
    const auto published = draft->publish(std::move(facts));
    ASSERT_TRUE(published) << published.error().message;
  }
  static void copy(const Fd& from, const Fd& to) {
    std::string bytes(static_cast<size_t>(::lseek(from.get(), 0, SEEK_END)), 0);
    ASSERT_EQ(::pread(from.get(), bytes.data(), bytes.size(), 0),
              static_cast<ssize_t>(bytes.size()));
    ASSERT_EQ(::pwrite(to.get(), bytes.data(), bytes.size(), 0),
              static_cast<ssize_t>(bytes.size()));
  }

  void start(DaemonOptions options = {}) {
    pid_ = ::fork();
    if (pid_ == 0) {
      auto place = DaemonPlace::take(folder_);
      if (!place || !*place) ::_exit(2);
      auto daemon = Daemon::create((*place)->listener(), std::move(options));
      ::_exit(daemon && (*daemon)->run() ? 0 : 4);
    }
    for (int i = 0; i < 1000 && status().is_null(); ++i) ::usleep(10000);
  }
  void kill_daemon() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(std::exchange(pid_, -1), nullptr, 0);
  }

  json status() {
    auto client = DaemonClient::connect(daemon_socket(folder_));
    if (!client || !*client) return nullptr;
    auto reply = (*client)->ask({}, 10s);
    return reply ? json::parse(*reply, nullptr, false) : json(nullptr);
  }
  std::vector<pid_t> pids_in(const std::string& state) {
    std::vector<pid_t> pids;
    const json all = status();
    for (const json& vm : all["vms"]) {
      if (vm["state"] == state) pids.push_back(vm["pid"]);
    }
    return pids;
  }
  bool wait_for(const std::string& state, size_t count) {
    for (int i = 0; i < 1000; ++i) {
      if (pids_in(state).size() == count) return true;
      ::usleep(10000);
    }
    return false;
  }
  DaemonClient::Claim claim(const std::string& name) {
    auto client = DaemonClient::connect(daemon_socket(folder_));
    if (!client || !*client) return {.vm = {}, .exposed = {}, .refused = {}, .unreachable = "none"};
    return DaemonClient::claim(std::move(**client), {store_, name}, false, "test", 30s);
  }
  // The last event of a VM.
  static VmEvent last_event(VmProcess& vm) {
    for (;;) {
      auto event = vm.next_event();
      if (event && (event->kind == Kind::kEnded || event->kind == Kind::kLost ||
                    event->kind == Kind::kRefused)) {
        return std::move(*event);
      }
      if (event) continue;
      pollfd ready{vm.poll_fd(), POLLIN, 0};
      if (vm.poll_fd() < 0 || ::poll(&ready, 1, 30000) != 1) return {};
    }
  }

  std::string folder_;
  std::string store_;
  pid_t pid_ = -1;
};

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
    auto client = DaemonClient::connect(daemon_socket(folder_));
    ASSERT_TRUE(client && *client);
    EXPECT_FALSE((*client)->ask({.op = DaemonRequest::Op::kClaim,
                                 .id = {store_, "sleeps"},
                                 .console = false,
                                 .label = {},
                                 .shells = 0},
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

TEST_F(DaemonVms, ShellsThatAreKilledAreReplaced) {
  start();
  ASSERT_TRUE(claim("ends").vm);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(wait_for("ready", 1));
    const pid_t shell = pids_in("ready")[0];
    ::kill(shell, SIGKILL);
    EXPECT_TRUE(is_gone(shell));
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
  const pid_t shell = pids_in("ready")[0];
  const pid_t vm = running.vm->pid();
  kill_daemon();
  EXPECT_TRUE(is_gone(shell));
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
  const pid_t old_shell = pids_in("ready")[0];
  make_template("ends", "sleeping_echo", "");
  auto claimed = claim("ends");
  ASSERT_TRUE(claimed.vm) << claimed.refused << claimed.unreachable;
  EXPECT_TRUE(is_gone(old_shell));
  ASSERT_TRUE(claimed.vm->ping(1));
  ::usleep(300000);
  EXPECT_EQ(::kill(claimed.vm->pid(), 0), 0) << "the new one sleeps";
}

TEST_F(DaemonVms, ATemplateThatWasCutUnderAShellFailsItsClaimAndIsThenRefusedWithTheReason) {
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
  // Shells that wait are no remains: as many as the pool says.
  const size_t shells = pids_in("ready").size();
  EXPECT_EQ(after.children, shells);
  EXPECT_LE(after.descriptors, before.descriptors + 4 * shells);
  EXPECT_LE(after.mappings, before.mappings + 20);
  EXPECT_EQ(after.files, before.files);
  EXPECT_EQ(entries_of("/proc/self/fd"), own);
}

}  // namespace
}  // namespace thimble::test

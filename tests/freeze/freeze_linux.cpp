// A Linux guest under disk and vsock load, frozen at random moments, again and again: each time the
// machine is paused, saved and ended, and another one made from what was saved. The guest checks
// what it reads (guest_load.cpp). Its clock must have run no longer than it lived: what passes
// while it is frozen, a while now and then, is none of its time.
//
//   freeze_linux KERNEL INITRD [TIMES] [VCPUS]
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <random>
#include <string>
#include <thread>

#include "tests/payload/snapshot_files.h"
#include "thimble/machine.h"
#include "vmm/snapshot/contents.h"

namespace {

using namespace thimble;  // NOLINT: this file is its main()
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint64_t kMemory = 64ULL << 20;
constexpr uint64_t kDisk = 4ULL << 20;
constexpr uint32_t kPort = 5000;
// A guest that took the time in which it was frozen for its own would soon be ahead of its life.
constexpr int kLongSleepEvery = 10;
constexpr milliseconds kLongSleep(2000);

int failures = 0;
void property(bool holds, const std::string& name, const std::string& why = "") {
  std::printf("%s - %s\n", holds ? "ok" : "not ok", name.c_str());
  if (!holds && !why.empty()) std::printf("    %s\n", why.c_str());
  std::fflush(stdout);
  failures += holds ? 0 : 1;
}

// What the guest said, as far as it matters.
class Console {
 public:
  void add(std::span<const uint8_t> bytes) {
    const std::scoped_lock guard(lock_);
    for (const uint8_t byte : bytes) {
      if (byte != '\n') {
        line_ += static_cast<char>(byte);
        continue;
      }
      take(line_);
      line_.clear();
    }
  }
  struct Progress {
    unsigned long disk = 0;
    unsigned long vsock = 0;
    unsigned long clock = 0;
    unsigned long clock_ms = 0;  // the guest's monotonic clock then
  };
  Progress progress() {
    const std::scoped_lock guard(lock_);
    return progress_;
  }
  std::string trouble() {
    const std::scoped_lock guard(lock_);
    return trouble_;
  }

 private:
  void take(const std::string& line) {
    if (std::sscanf(line.c_str(), "disk %lu", &progress_.disk) == 1) return;
    if (std::sscanf(line.c_str(), "vsock %lu", &progress_.vsock) == 1) return;
    if (std::sscanf(line.c_str(), "clock %lu at %lu", &progress_.clock, &progress_.clock_ms) == 2) {
      return;
    }
    for (const char* word : {"CORRUPT", "panic", "lockup", "stall", "BUG", "rror"}) {
      if (line.find(word) != std::string::npos && trouble_.size() < 2000) trouble_ += line + "; ";
    }
  }
  std::mutex lock_;
  std::string line_;
  Progress progress_;
  std::string trouble_;
};

// The other end of one of the guest's streams: sends back what comes.
void echo(Fd stream) {
  std::array<char, 16384> bytes{};
  for (;;) {
    const ssize_t got = ::recv(stream.get(), bytes.data(), bytes.size(), 0);
    if (got <= 0) return;
    for (ssize_t sent = 0; sent < got;) {
      const ssize_t n =
          ::send(stream.get(), bytes.data() + sent, static_cast<size_t>(got - sent), MSG_NOSIGNAL);
      if (n <= 0) return;
      sent += n;
    }
  }
}

Fd serve_stream() {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) return {};
  std::thread(echo, Fd(ends[1])).detach();
  return Fd(ends[0]);
}

struct Fixture {
  std::string kernel;
  std::string initrd;
  unsigned vcpus = 1;
  Fd disk{memfd_create("disk", MFD_CLOEXEC)};
  Console console;

  MachineOptions options() {
    MachineOptions options;
    options.memory_bytes = kMemory;
    options.vcpus = vcpus;
    options.kernel = kernel;
    options.initrd = initrd;
    options.command_line = "console=ttyS0 quiet panic=-1 reboot=k";
    options.disks.push_back({.file = Fd(dup(disk.get())), .read_only = false, .name = "disk"});
    options.vsock.emplace();
    options.guest_connect_ports = {kPort};
    options.on_guest_connect = [](uint32_t /*port*/) { return serve_stream(); };
    options.on_serial = [this](std::span<const uint8_t> bytes) { console.add(bytes); };
    return options;
  }
};

class Running {
 public:
  explicit Running(Machine& machine)
      : machine_(machine), thread_([this] { end_ = machine_.run(); }) {}
  ~Running() {
    machine_.stop();
    thread_.join();
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  bool pause() {
    for (int i = 0; i < 1000; ++i) {
      if (machine_.pause()) return true;
      std::this_thread::sleep_for(milliseconds(1));
    }
    return false;
  }

 private:
  Machine& machine_;
  End end_;
  std::thread thread_;
};

// Until disk, stream and clock have each got on by a few reports.
bool gets_on(Console& console, seconds limit) {
  const Console::Progress start = console.progress();
  const auto until = std::chrono::steady_clock::now() + limit;
  while (std::chrono::steady_clock::now() < until && console.trouble().empty()) {
    const Console::Progress now = console.progress();
    if (now.disk > start.disk && now.vsock > start.vsock && now.clock > start.clock) return true;
    std::this_thread::sleep_for(milliseconds(20));
  }
  const Console::Progress end = console.progress();
  std::printf("# disk %lu to %lu, vsock %lu to %lu, clock %lu to %lu in %ld s\n", start.disk,
              end.disk, start.vsock, end.vsock, start.clock, end.clock,
              static_cast<long>(limit.count()));
  return false;
}

// How long the guest has lived, in all its machines: from before one is made until it is saved; and
// its clock, as KVM has it, at the end of each life.
class Life {
 public:
  void begin() { began_ = Clock::now(); }
  void end() {
    last_ = Clock::now() - began_;
    lived_ += last_;
  }
  // The clock that was saved. Words for a clock that went back, or on by more than that life.
  std::string judge(uint64_t clock_ns) {
    const std::chrono::nanoseconds clock(clock_ns);
    const auto went = clock - clock_;
    clock_ = clock;
    longest_ = std::max(longest_, went);
    if (went >= Clock::duration::zero() && went <= last_) return {};
    return "its clock went on by " + in_ms(went) + " ms in " + in_ms(last_) + " ms of life";
  }
  // What the guest itself reads off its clock. It began after this.
  [[nodiscard]] std::string judge_reading(unsigned long clock_ms) const {
    const auto lived = lived_ + (Clock::now() - began_);
    if (milliseconds(clock_ms) <= lived) return {};
    return "its clock says " + std::to_string(clock_ms) + " ms, it has lived " + in_ms(lived);
  }
  [[nodiscard]] std::string facts() const {
    return "lived " + in_ms(lived_) + " ms, clock " + in_ms(clock_) + " ms, at most " +
           in_ms(longest_) + " ms in one life";
  }

 private:
  using Clock = std::chrono::steady_clock;
  static std::string in_ms(Clock::duration time) {
    return std::to_string(std::chrono::duration_cast<milliseconds>(time).count());
  }
  Clock::time_point began_ = Clock::now();
  Clock::duration last_{};
  Clock::duration lived_{};
  Clock::duration clock_{};
  Clock::duration longest_{};
};

Result<std::unique_ptr<Machine>> replace(Fixture& fixture, Machine& machine, Life& life,
                                         milliseconds frozen) {
  auto files = test::freeze(machine);
  life.end();
  if (!files) return std::unexpected(files.error());
  auto snapshot = files->open();
  if (!snapshot) return std::unexpected(snapshot.error());
  const std::string wrong = life.judge((*snapshot)->contents().state.clock.clock.clock);
  if (!wrong.empty()) return fail(wrong);
  std::this_thread::sleep_for(frozen);
  life.begin();
  return Machine::restore(fixture.options(), **snapshot);
}

// Tells afterwards what took longer than it ever should.
class Watched {
 public:
  Watched(const char* what, int number) : what_(what), number_(number) {}
  ~Watched() {
    const auto took = std::chrono::steady_clock::now() - began_;
    if (took < seconds(20)) return;
    const auto ms = std::chrono::duration_cast<milliseconds>(took).count();
    std::printf("# freeze %d: %s took %ld ms\n", number_, what_, static_cast<long>(ms));
    std::fflush(stdout);
  }
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;

 private:
  const char* what_;
  int number_;
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

bool pause(Running& running, int number) {
  const Watched watched("the pause", number);
  return running.pause();
}

int run(Fixture& fixture, int times) {
  Life life;
  auto machine = Machine::create(fixture.options());
  if (!machine) {
    property(false, "the guest starts", machine.error().message);
    return 1;
  }
  std::mt19937 random(std::random_device{}());
  int done = 0;
  std::string why;
  for (; done < times && why.empty(); ++done) {
    const milliseconds frozen = done % kLongSleepEvery == 0 ? kLongSleep : milliseconds(0);
    Result<std::unique_ptr<Machine>> next = fail("the machine could not be paused");
    {
      Running running(**machine);
      // From time to time it must be seen to get on; in between the freezes are close together.
      const Watched watched("a life", done);
      if (done % 20 == 0 && !gets_on(fixture.console, seconds(120))) why = "it stands still";
      if (done % 100 == 0) std::fprintf(stderr, "# %d\n", done);
      std::this_thread::sleep_for(milliseconds(random() % 60));
      if (pause(running, done)) {
        const Watched saving("saving and restoring", done);
        next = replace(fixture, **machine, life, frozen);
      }
    }
    if (!next) why = next.error().message;
    if (!fixture.console.trouble().empty()) why = fixture.console.trouble();
    if (why.empty()) why = life.judge_reading(fixture.console.progress().clock_ms);
    if (why.empty()) machine = std::move(next);
  }
  const std::string name = "a guest with " + std::to_string(fixture.vcpus) + " CPU(s) frozen " +
                           std::to_string(done) + " times under disk and vsock load";
  property(why.empty(), name + " reads what it wrote", why);
  if (!why.empty()) {
    std::printf("# %s\n", life.facts().c_str());
    return 1;
  }
  const Running running(**machine);
  property(gets_on(fixture.console, seconds(120)), name + " gets on afterwards",
           fixture.console.trouble());
  const Console::Progress end = fixture.console.progress();
  std::printf("# disk %lu, vsock %lu, clock %lu; %s\n", end.disk, end.vsock, end.clock,
              life.facts().c_str());
  return failures > 0 ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: freeze_linux KERNEL INITRD [TIMES] [VCPUS]\n");
    return 2;
  }
  Fixture fixture;
  fixture.kernel = argv[1];
  fixture.initrd = argv[2];
  fixture.vcpus = argc > 4 ? static_cast<unsigned>(std::atoi(argv[4])) : 1;
  if (ftruncate(fixture.disk.get(), kDisk) != 0) return 2;
  return run(fixture, argc > 3 ? std::atoi(argv[3]) : 20);
}

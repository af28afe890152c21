// Freezing and cloning, shown by payload guests: what a guest did before it was frozen, it finds
// done; what it had not done yet, it does once.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <chrono>
#include <optional>
#include <thread>

#include "tests/payload/bare_vcpu.h"
#include "tests/payload/count_ioctls.h"
#include "tests/payload/payload_machine.h"
#include "tests/payload/snapshot_files.h"

namespace thimble::test {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

MachineOptions with_output(MachineOptions options, Transcript& transcript) {
  options.on_serial = [&transcript](std::span<const uint8_t> bytes) { transcript.add(bytes); };
  return options;
}

MachineOptions small_machine() {
  MachineOptions options;
  options.memory_bytes = 32ULL << 20;
  return options;
}

std::string counted_output() {
  std::string expected;
  for (unsigned i = 0; i < 1500; ++i) {
    char line[20];
    snprintf(line, sizeof(line), "%016x\n", i);
    expected += line;
  }
  return expected + "done\n";
}

// A machine that runs on a thread of its own.
class Running {
 public:
  explicit Running(Machine& machine)
      : machine_(machine), thread_([this] {
          end_ = machine_.run();
          over_ = true;
        }) {}
  ~Running() { end(); }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  // Pauses it, as soon as it is up; false when it has ended.
  bool pause() {
    while (!over_) {
      if (machine_.pause()) return true;
      std::this_thread::yield();
    }
    return false;
  }
  // Lets it run for so long, or until it ends.
  void wait_for(microseconds time) {
    const auto until = std::chrono::steady_clock::now() + time;
    while (!over_ && std::chrono::steady_clock::now() < until) {
      std::this_thread::sleep_for(microseconds(200));
    }
  }
  [[nodiscard]] bool over() const { return over_; }
  End end() {
    if (thread_.joinable()) thread_.join();
    return end_;
  }

 private:
  Machine& machine_;
  End end_;
  std::atomic<bool> over_ = false;
  std::thread thread_;
};

// Runs until the machine ends, or for so long; then it is frozen and stopped. Nothing when it
// ended.
std::optional<FrozenFiles> run_and_freeze(Machine& machine, microseconds time, End& end) {
  Running running(machine);
  running.wait_for(time);
  std::optional<FrozenFiles> files;
  if (running.pause()) {
    auto frozen = freeze(machine);
    EXPECT_TRUE(frozen) << frozen.error().message;
    if (frozen) files = std::move(*frozen);
    machine.stop();
  }
  end = running.end();
  return files;
}

TEST(Snapshot, AGuestFrozenAgainAndAgainCountsOn) {
  Transcript transcript;
  auto machine = Machine::create(with_output(payload_options("count"), transcript));
  ASSERT_TRUE(machine) << machine.error().message;
  End end;
  int generations = 0;
  for (; generations < 10'000; ++generations) {
    // Close together first, so that many come in the middle of an exit; then it may finish.
    const auto time = microseconds(generations < 25 ? 700 + 737 * (generations % 11) : 10'000'000);
    const auto files = run_and_freeze(**machine, time, end);
    if (!files) break;
    ASSERT_EQ(end.kind, End::Kind::kStopped) << end.message;
    auto snapshot = files->open();
    ASSERT_TRUE(snapshot) << snapshot.error().message;
    machine = Machine::restore(with_output(small_machine(), transcript), **snapshot);
    ASSERT_TRUE(machine) << machine.error().message;
  }
  EXPECT_EQ(end.kind, End::Kind::kPowerOff) << end.message;
  EXPECT_GE(generations, 25);
  EXPECT_EQ(transcript.text(), counted_output());
}

TEST(Snapshot, APausedGuestStandsStillAndGoesOn) {
  Transcript transcript;
  auto machine = Machine::create(with_output(payload_options("count"), transcript));
  ASSERT_TRUE(machine) << machine.error().message;
  Running running(**machine);
  int pauses = 0;
  while (running.pause()) {
    const std::string before = transcript.text();
    std::this_thread::sleep_for(microseconds(500));
    EXPECT_EQ(transcript.text(), before);
    if (!(*machine)->resume()) break;
    ++pauses;
    std::this_thread::sleep_for(microseconds(200));
  }
  const End end = running.end();
  EXPECT_GT(pauses, 10);
  EXPECT_EQ(end.kind, End::Kind::kPowerOff) << end.message;
  EXPECT_EQ(transcript.text(), counted_output());
}

TEST(Snapshot, AVcpuFrozenAtEveryReadLosesAndDoublesNone) {
  Sequence sequence;
  Printed serial;
  Printed power;
  auto bare = std::make_unique<BareVcpu>(sequence, serial, power);
  bare->load("in_sequence");
  sequence.on_access = power.on_write = [&] { bare->vcpu().kick(); };
  int frozen = 0;
  while (power.text.empty() && frozen < 1000) {
    auto end = bare->vcpu().run();
    if (!end) end = bare->vcpu().finish_exit();
    ASSERT_FALSE(end) << end->message;
    if (!power.text.empty()) break;
    auto next = std::make_unique<BareVcpu>(sequence, serial, power);
    next->take_over(*bare);
    bare = std::move(next);
    ++frozen;
  }
  EXPECT_EQ(serial.text, "done\n");
  EXPECT_GE(frozen, 120);
}

// ---- what a guest has in hand when it is frozen

bool says(Transcript& transcript, const std::string& text, size_t times) {
  const std::string all = transcript.text();
  size_t found = 0;
  for (size_t at = 0; (at = all.find(text, at)) != std::string::npos; ++at) ++found;
  return found >= times;
}

bool wait_for_text(Transcript& transcript, const std::string& text, size_t times) {
  for (int i = 0; i < 4000; ++i) {
    if (says(transcript, text, times)) return true;
    std::this_thread::sleep_for(milliseconds(5));
  }
  return false;
}

// Freezes the guest each time it says "frozen", and types a key at the clone, a while later.
std::string freeze_when_asked(const std::function<MachineOptions()>& options_of,
                              const std::string& payload) {
  Transcript transcript;
  MachineOptions first = with_output(options_of(), transcript);
  first.kernel = payload_path(payload);
  auto machine = Machine::create(std::move(first));
  if (!machine) return machine.error().message;
  for (size_t freezes = 1;; ++freezes) {
    std::optional<FrozenFiles> files;
    {
      Running running(**machine);
      if (freezes > 1) (*machine)->type("x");
      while (!running.over() && !says(transcript, "frozen\n", freezes)) {
        std::this_thread::sleep_for(milliseconds(1));
      }
      if (running.over()) return transcript.text();
      if (running.pause()) {
        auto frozen = freeze(**machine);
        if (!frozen) return frozen.error().message;
        files = std::move(*frozen);
      }
      (*machine)->stop();
    }
    if (!files) return "could not be paused";
    // A timer of the guest would have run out by now, had it gone on.
    std::this_thread::sleep_for(milliseconds(20));
    auto snapshot = files->open();
    if (!snapshot) return snapshot.error().message;
    machine = Machine::restore(with_output(options_of(), transcript), **snapshot);
    if (!machine) return machine.error().message;
  }
}

TEST(Snapshot, EveryKindOfPendingInterruptComesOnceInTheClone) {
  EXPECT_EQ(freeze_when_asked(small_machine, "pending_interrupts"), "frozen\nok\n");
}

TEST(Snapshot, AMaskedInterruptIsNotLostToItsDevice) {
  EXPECT_EQ(freeze_when_asked(small_machine, "pending_masked"), "frozen\nok\n");
}

TEST(Snapshot, ATscDeadlineComesOnceAndNotEarly) {
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
  GTEST_SKIP()
      << "saving takes longer than the deadline, where KVM gives guests the host's counter";
#endif
#endif
  EXPECT_EQ(freeze_when_asked(small_machine, "pending_deadline"), "frozen\nfrozen\nok\n");
}

TEST(Snapshot, ATimeStampCounterDoesNotGoBack) {
  EXPECT_EQ(freeze_when_asked(small_machine, "counter_goes_on"), "frozen\nok\n");
}

TEST(Snapshot, RegistersOfEveryKindAreFoundAgain) {
  EXPECT_EQ(freeze_when_asked(small_machine, "machine_registers"), "frozen\nok\n");
}

TEST(Snapshot, RequestsInEveryQueueAreAnsweredOnce) {
  const Fd disk(memfd_create("disk", MFD_CLOEXEC));
  for (uint32_t sector = 0; sector < 64; ++sector) {
    const std::vector<uint32_t> words(128, sector);
    ASSERT_EQ(pwrite(disk.get(), words.data(), 512, sector * 512), 512);
  }
  std::vector<Fd> ends;  // of the guest's streams
  const auto options_of = [&disk, &ends] {
    MachineOptions options = small_machine();
    options.vsock.emplace();
    options.guest_connect_ports = {80};
    options.on_guest_connect = [&ends](uint32_t /*port*/) {
      std::array<int, 2> pair{-1, -1};
      if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0) return Fd();
      ends.emplace_back(pair[1]);
      return Fd(pair[0]);
    };
    options.disks.push_back({.file = Fd(dup(disk.get())), .read_only = false, .name = "disk"});
    return options;
  };
  EXPECT_EQ(freeze_when_asked(options_of, "busy_devices"), "ready\nfrozen\nfrozen\nfrozen\nok\n");
}

// ---- many clones, warm VMs, what is refused

std::optional<FrozenFiles> frozen_echo() {
  Transcript transcript;
  auto machine = Machine::create(with_output(payload_options("serial_echo"), transcript));
  if (!machine) return std::nullopt;
  Running running(**machine);
  std::optional<FrozenFiles> files;
  if (wait_for_text(transcript, "ready\n", 1) && running.pause()) {
    if (auto frozen = freeze(**machine)) files = std::move(*frozen);
  }
  (*machine)->stop();
  return files;
}

MachineOptions echo_options() {
  MachineOptions options = small_machine();
  options.memory_bytes = payload_options("serial_echo").memory_bytes;
  return options;
}

TEST(Snapshot, ManyClonesInOneProcessKeepApart) {
  const auto files = frozen_echo();
  ASSERT_TRUE(files);
  const auto snapshot = files->open();
  ASSERT_TRUE(snapshot) << snapshot.error().message;
  constexpr int kClones = 12;
  std::vector<std::string> outputs(kClones);
  std::vector<std::thread> threads;
  for (int i = 0; i < kClones; ++i) {
    threads.emplace_back([&, i] {
      Transcript transcript;
      auto clone = Machine::restore(with_output(echo_options(), transcript), **snapshot);
      if (!clone) {
        outputs[i] = clone.error().message;
        return;
      }
      (*clone)->type("clone " + std::to_string(i) + "q");
      (*clone)->run();
      outputs[i] = transcript.text();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < kClones; ++i) EXPECT_EQ(outputs[i], "clone " + std::to_string(i));
}

TEST(Snapshot, AFreshMachineMakesItsSlotOnce) {
  count_ioctls(KVM_SET_USER_MEMORY_REGION);
  EXPECT_TRUE(Machine::prepare(echo_options()));
  EXPECT_EQ(counted_ioctls(), 1U);
}

TEST(Snapshot, AWarmVmTakesOverASnapshotThatItDidNotKnow) {
  Transcript transcript;
  auto warm_vm = Machine::prepare(with_output(echo_options(), transcript));
  ASSERT_TRUE(warm_vm) << warm_vm.error().message;
  const auto files = frozen_echo();
  ASSERT_TRUE(files);
  const auto snapshot = files->open();
  ASSERT_TRUE(snapshot);
  // The slot is there already: a change of memory slots now would wait for a grace period.
  count_ioctls(KVM_SET_USER_MEMORY_REGION);
  const auto claimed = (*warm_vm)->claim(**snapshot);
  ASSERT_TRUE(claimed) << claimed.error().message;
  EXPECT_EQ(counted_ioctls(), 0U);
  (*warm_vm)->type("hiq");
  EXPECT_EQ((*warm_vm)->run().kind, End::Kind::kPowerOff);
  EXPECT_EQ(transcript.text(), "hi");
  EXPECT_FALSE((*warm_vm)->claim(**snapshot)) << "a machine that has run";
}

std::string refusal(MachineOptions options, const Snapshot& snapshot) {
  auto warm_vm = Machine::prepare(std::move(options));
  if (!warm_vm) return warm_vm.error().message;
  const auto claimed = (*warm_vm)->claim(snapshot);
  return claimed ? "claimed" : claimed.error().message;
}

TEST(Snapshot, AMachineOfAnotherShapeIsRefused) {
  const auto files = frozen_echo();
  ASSERT_TRUE(files);
  const auto snapshot = files->open();
  ASSERT_TRUE(snapshot);
  MachineOptions options = echo_options();
  options.memory_bytes *= 2;
  EXPECT_NE(refusal(std::move(options), **snapshot).find("MiB of memory"), std::string::npos);
  options = echo_options();
  options.vcpus = 2;
  EXPECT_NE(refusal(std::move(options), **snapshot).find("1 vCPUs"), std::string::npos);
  options = echo_options();
  options.entropy = false;
  EXPECT_NE(refusal(std::move(options), **snapshot).find("other devices"), std::string::npos);
  options = echo_options();
  options.vsock.emplace();
  EXPECT_NE(refusal(std::move(options), **snapshot).find("vsock"), std::string::npos);
}

TEST(Snapshot, AMemoryFileThatWasCutAfterOpeningIsRefused) {
  const auto files = frozen_echo();
  ASSERT_TRUE(files);
  const auto snapshot = files->open();
  ASSERT_TRUE(snapshot);
  ASSERT_EQ(ftruncate(files->memory.get(), 4096), 0);
  EXPECT_NE(refusal(echo_options(), **snapshot).find("4096 bytes"), std::string::npos);
}

TEST(Snapshot, AMemoryFileThatIsCutUnderACloneEndsThatClone) {
  const auto files = frozen_echo();
  ASSERT_TRUE(files);
  const auto snapshot = files->open();
  ASSERT_TRUE(snapshot);
  auto clone = Machine::restore(echo_options(), **snapshot);
  ASSERT_TRUE(clone) << clone.error().message;
  ASSERT_EQ(ftruncate(files->memory.get(), 0), 0);
  const End end = (*clone)->run();
  EXPECT_EQ(end.kind, End::Kind::kHostError) << end.message;
  EXPECT_NE(end.message.find("memory file"), std::string::npos) << end.message;
}

TEST(Snapshot, ASnapshotOfACloneIsWholeInItself) {
  Transcript transcript;
  std::optional<FrozenFiles> files = frozen_echo();
  ASSERT_TRUE(files);
  for (int generation = 0; generation < 3; ++generation) {
    auto snapshot = files->open();
    ASSERT_TRUE(snapshot);
    auto clone = Machine::restore(with_output(echo_options(), transcript), **snapshot);
    ASSERT_TRUE(clone) << clone.error().message;
    std::optional<FrozenFiles> next;
    {
      Running running(**clone);
      (*clone)->type(std::to_string(generation));
      ASSERT_TRUE(wait_for_text(transcript, std::to_string(generation), 1));
      ASSERT_TRUE(running.pause());
      auto frozen = freeze(**clone);
      ASSERT_TRUE(frozen) << frozen.error().message;
      next = std::move(*frozen);
      (*clone)->stop();
    }
    // What it came from is not needed any more.
    ASSERT_EQ(ftruncate(files->memory.get(), 0), 0);
    files = std::move(next);
  }
  EXPECT_EQ(transcript.text(), "012");
}

TEST(Snapshot, AMachineThatEndsWhilePausedTellsIt) {
  auto machine = Machine::create(payload_options("spin"));
  ASSERT_TRUE(machine);
  EXPECT_FALSE((*machine)->pause()) << "it does not run yet";
  Running running(**machine);
  ASSERT_TRUE(running.pause());
  EXPECT_FALSE((*machine)->pause()) << "it is paused already";
  (*machine)->stop();
  EXPECT_EQ(running.end().kind, End::Kind::kStopped);
  EXPECT_FALSE((*machine)->resume());
  EXPECT_FALSE((*machine)->save(1, 1));
}

}  // namespace
}  // namespace thimble::test

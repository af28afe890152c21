// Freezing and cloning, shown by payload guests: what a guest did before it was frozen, it finds
// done; what it had not done yet, it does once.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>

#include "tests/payload/bare_vcpu.h"
#include "tests/payload/payload_machine.h"
#include "tests/payload/snapshot_files.h"

namespace thimble::test {
namespace {

using std::chrono::microseconds;

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

}  // namespace
}  // namespace thimble::test

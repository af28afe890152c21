// Machines by thimble.h, as a C program has them, shown by payload guests.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/payload/payload_machine.h"
#include "thimble/thimble.h"

namespace thimble::test {
namespace {

constexpr uint64_t kMemory = 32ULL << 20;

// What a guest has written, to be waited for.
class Console {
 public:
  static void hear(void* self, const void* bytes, size_t size) {
    auto* console = static_cast<Console*>(self);
    const std::scoped_lock guard(console->lock_);
    console->text_.append(static_cast<const char*>(bytes), size);
    console->changed_.notify_all();
  }
  void wait_for(const std::string& part) {
    std::unique_lock guard(lock_);
    changed_.wait(guard, [&] { return text_.find(part) != std::string::npos; });
  }
  std::string text() {
    const std::scoped_lock guard(lock_);
    return text_;
  }

 private:
  std::mutex lock_;
  std::condition_variable changed_;
  std::string text_;
};

struct OptionsFree {
  void operator()(thimble_machine_options* options) { thimble_machine_options_free(options); }
};
using OptionsHandle = std::unique_ptr<thimble_machine_options, OptionsFree>;
struct MachineFree {
  void operator()(thimble_machine* machine) { thimble_machine_free(machine); }
};
using MachineHandle = std::unique_ptr<thimble_machine, MachineFree>;
struct SnapshotFree {
  void operator()(thimble_snapshot* snapshot) { thimble_snapshot_free(snapshot); }
};
using SnapshotHandle = std::unique_ptr<thimble_snapshot, SnapshotFree>;

OptionsHandle options_of(Console& console, const char* payload = nullptr) {
  OptionsHandle options(thimble_machine_options_new());
  thimble_machine_options_set_memory(options.get(), kMemory);
  if (payload != nullptr) {
    thimble_machine_options_set_kernel(options.get(), payload_path(payload).c_str());
  }
  thimble_machine_options_on_serial(options.get(), Console::hear, &console);
  return options;
}

// The kind of what `call` answers; its message goes to the log when it is another one.
void expect(thimble_error_kind kind, auto call) {
  thimble_error* error = nullptr;
  EXPECT_EQ(call(&error), kind) << thimble_error_message(error);
  thimble_error_free(error);
}

MachineHandle create(const OptionsHandle& options) {
  thimble_machine* machine = nullptr;
  expect(THIMBLE_OK, [&](auto e) { return thimble_machine_create(options.get(), &machine, e); });
  return MachineHandle(machine);
}

MachineHandle started(const OptionsHandle& options) {
  MachineHandle machine = create(options);
  expect(THIMBLE_OK, [&](auto e) { return thimble_machine_start(machine.get(), e); });
  return machine;
}

struct Files {
  Fd state{memfd_create("state", MFD_CLOEXEC)};
  Fd memory{memfd_create("memory", MFD_CLOEXEC)};
};

void save(const MachineHandle& machine, const Files& files) {
  expect(THIMBLE_OK, [&](auto e) {
    return thimble_machine_save(machine.get(), files.state.get(), files.memory.get(), e);
  });
}

SnapshotHandle open(const Files& files, thimble_error_kind kind = THIMBLE_OK) {
  thimble_snapshot* snapshot = nullptr;
  expect(kind, [&](auto e) {
    return thimble_snapshot_open(files.state.get(), files.memory.get(), THIMBLE_MEMORY_VERIFY,
                                 &snapshot, e);
  });
  return SnapshotHandle(snapshot);
}

MachineHandle restore(const OptionsHandle& options, const SnapshotHandle& snapshot,
                      thimble_error_kind kind = THIMBLE_OK) {
  thimble_machine* machine = nullptr;
  expect(kind, [&](auto e) {
    return thimble_machine_restore(options.get(), snapshot.get(), &machine, e);
  });
  EXPECT_EQ(machine == nullptr, kind != THIMBLE_OK);
  return MachineHandle(machine);
}

// An echo that has said that it is ready, frozen.
void freeze_echo(const Files& files) {
  Console console;
  const auto machine = started(options_of(console, "serial_echo"));
  console.wait_for("ready\n");
  expect(THIMBLE_OK, [&](auto e) { return thimble_machine_pause(machine.get(), e); });
  save(machine, files);
}

TEST(CapiMachine, RunsOnceToItsEnd) {
  Console console;
  const auto machine = create(options_of(console, "serial_hello"));
  EXPECT_EQ(thimble_machine_end_kind(machine.get()), THIMBLE_END_NONE);
  EXPECT_STREQ(thimble_machine_end_message(machine.get()), "");
  expect(THIMBLE_ERROR_WRONG_STATE, [&](auto e) { return thimble_machine_wait(machine.get(), e); });
  expect(THIMBLE_OK, [&](auto e) { return thimble_machine_run(machine.get(), e); });
  EXPECT_EQ(thimble_machine_end_kind(machine.get()), THIMBLE_END_POWER_OFF);
  EXPECT_STRNE(thimble_machine_end_message(machine.get()), "");
  EXPECT_FALSE(console.text().empty());
  expect(THIMBLE_OK, [&](auto e) { return thimble_machine_wait(machine.get(), e); });
  expect(THIMBLE_ERROR_WRONG_STATE, [&](auto e) { return thimble_machine_run(machine.get(), e); });
  expect(THIMBLE_ERROR_WRONG_STATE,
         [&](auto e) { return thimble_machine_pause(machine.get(), e); });
}

TEST(CapiMachine, OptionsMakeAnyNumberOfMachines) {
  Console console;
  const auto options = options_of(console, "serial_hello");
  const auto one = started(options);
  const auto two = started(options);
  for (const auto* machine : {&one, &two}) {
    expect(THIMBLE_OK, [&](auto e) { return thimble_machine_wait(machine->get(), e); });
    EXPECT_EQ(thimble_machine_end_kind(machine->get()), THIMBLE_END_POWER_OFF);
  }
}

TEST(CapiMachine, IsPausedAsSoonAsItIsStarted) {
  Console console;
  const auto machine = started(options_of(console, "serial_echo"));
  expect(THIMBLE_OK, [&](auto e) { return thimble_machine_pause(machine.get(), e); });
  expect(THIMBLE_ERROR_WRONG_STATE,
         [&](auto e) { return thimble_machine_pause(machine.get(), e); });
  expect(THIMBLE_OK, [&](auto e) { return thimble_machine_resume(machine.get(), e); });
  expect(THIMBLE_ERROR_WRONG_STATE,
         [&](auto e) { return thimble_machine_resume(machine.get(), e); });
  console.wait_for("ready\n");
  EXPECT_EQ(thimble_machine_type(machine.get(), "abc", 3), 3U);
  console.wait_for("abc");
}

TEST(CapiMachine, ItsEndCanBePolledFor) {
  Console console;
  const auto machine = started(options_of(console, "spin"));
  pollfd end{.fd = thimble_machine_ended_fd(machine.get()), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&end, 1, 0), 0);
  thimble_machine_stop(machine.get());
  EXPECT_EQ(::poll(&end, 1, -1), 1);
  EXPECT_EQ(thimble_machine_end_kind(machine.get()), THIMBLE_END_STOPPED);
}

TEST(CapiMachine, OneThatRunsIsFreed) {
  Console console;
  started(options_of(console, "spin")).reset();
  auto machine = create(options_of(console, "spin"));
  std::thread runner([held = machine.get()] { thimble_machine_run(held, nullptr); });
  std::thread waiter;
  // Until it can be paused it runs nowhere yet.
  while (thimble_machine_pause(machine.get(), nullptr) != THIMBLE_OK) std::this_thread::yield();
  machine.reset();
  runner.join();
}

TEST(CapiMachine, OneThatWasStoppedEndsAtOnce) {
  Console console;
  const auto machine = create(options_of(console, "spin"));
  thimble_machine_stop(machine.get());
  expect(THIMBLE_OK, [&](auto e) { return thimble_machine_run(machine.get(), e); });
  EXPECT_EQ(thimble_machine_end_kind(machine.get()), THIMBLE_END_STOPPED);
}

// ---- callbacks

struct InCallback {
  thimble_machine* machine = nullptr;
  std::vector<thimble_error_kind> answers;
  char byte = 0;

  static void hear(void* self, const void* /*bytes*/, size_t /*size*/) {
    static_cast<InCallback*>(self)->try_all();
  }
  void try_all() {
    if (!answers.empty()) return;
    thimble_registers registers{};
    registers.size = sizeof(registers);
    answers = {
        thimble_machine_pause(machine, nullptr),
        thimble_machine_resume(machine, nullptr),
        thimble_machine_wait(machine, nullptr),
        thimble_machine_run(machine, nullptr),
        thimble_machine_read_memory(machine, 0, &byte, 1, nullptr),
        thimble_machine_write_memory(machine, 0, &byte, 1, nullptr),
        thimble_machine_get_registers(machine, 0, &registers, nullptr),
        thimble_machine_save(machine, 1, 1, nullptr),
    };
    thimble_machine_stop(machine);
  }
};

TEST(CapiCallbacks, WhatWouldWaitForItselfIsRefused) {
  Console console;
  InCallback in_callback;
  const auto options = options_of(console, "serial_echo");
  thimble_machine_options_on_serial(options.get(), InCallback::hear, &in_callback);
  const auto machine = create(options);
  in_callback.machine = machine.get();
  expect(THIMBLE_OK, [&](auto e) { return thimble_machine_run(machine.get(), e); });
  EXPECT_EQ(thimble_machine_end_kind(machine.get()), THIMBLE_END_STOPPED);
  EXPECT_EQ(in_callback.answers.size(), 8U);
  for (const auto answer : in_callback.answers) EXPECT_EQ(answer, THIMBLE_ERROR_WRONG_STATE);
}

TEST(CapiCallbacks, AMachineIsFreedInItsOwn) {
  struct Freed {
    std::atomic<thimble_machine*> machine = nullptr;
    static void hear(void* self, const void* /*bytes*/, size_t /*size*/) {
      thimble_machine_free(static_cast<Freed*>(self)->machine.exchange(nullptr));
    }
  };
  for (const bool start : {true, false}) {
    Console console;
    Freed freed;
    const auto options = options_of(console, "serial_echo");
    thimble_machine_options_on_serial(options.get(), Freed::hear, &freed);
    thimble_machine* machine = create(options).release();
    freed.machine = machine;
    const Fd end(::dup(thimble_machine_ended_fd(machine)));
    EXPECT_EQ(
        start ? thimble_machine_start(machine, nullptr) : thimble_machine_run(machine, nullptr),
        THIMBLE_OK);
    pollfd ended{.fd = end.get(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&ended, 1, -1), 1);
    EXPECT_EQ(freed.machine, nullptr);
  }
}

TEST(CapiCallbacks, ThreadsAreShownBeforeTheyRunTheGuest) {
  struct Seen {
    std::mutex lock;
    std::vector<thimble_thread_kind> kinds;
    bool signals_blocked = true;
    static int start(void* self, thimble_thread_kind kind) {
      auto* seen = static_cast<Seen*>(self);
      sigset_t mask;
      pthread_sigmask(SIG_SETMASK, nullptr, &mask);
      const std::scoped_lock guard(seen->lock);
      seen->kinds.push_back(kind);
      seen->signals_blocked &= sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGBUS) == 0;
      return 0;
    }
  } seen;
  Console console;
  const auto options = options_of(console, "serial_hello");
  thimble_machine_options_on_thread(options.get(), Seen::start, &seen);
  const auto machine = started(options);
  expect(THIMBLE_OK, [&](auto e) { return thimble_machine_wait(machine.get(), e); });
  EXPECT_EQ(seen.kinds.size(), 2U);
  EXPECT_TRUE(seen.signals_blocked);
}

TEST(CapiCallbacks, AThreadThatIsRefusedEndsTheMachine) {
  Console console;
  const auto options = options_of(console, "serial_hello");
  thimble_machine_options_on_thread(
      options.get(), [](void*, thimble_thread_kind) { return 42; }, nullptr);
  const auto machine = started(options);
  expect(THIMBLE_OK, [&](auto e) { return thimble_machine_wait(machine.get(), e); });
  EXPECT_EQ(thimble_machine_end_kind(machine.get()), THIMBLE_END_HOST_ERROR);
  EXPECT_NE(std::string(thimble_machine_end_message(machine.get())).find("42"), std::string::npos);
  EXPECT_EQ(console.text(), "");
}

TEST(CapiCallbacks, ATraceHasTheDevicesNames) {
  struct Trace {
    std::mutex lock;
    std::vector<std::string> lines;
    static void hear(void* self, const thimble_trace_event* event) {
      char line[300];
      EXPECT_EQ(event->size, sizeof(*event));
      EXPECT_LT(thimble_trace_line(event, line, sizeof(line)), sizeof(line));
      auto* trace = static_cast<Trace*>(self);
      const std::scoped_lock guard(trace->lock);
      trace->lines.emplace_back(line);
    }
  } trace;
  Console console;
  const auto options = options_of(console, "serial_hello");
  thimble_machine_options_on_trace(options.get(), Trace::hear, &trace);
  const auto machine = create(options);
  expect(THIMBLE_OK, [&](auto e) { return thimble_machine_run(machine.get(), e); });
  const auto writes = std::ranges::count_if(trace.lines, [](const std::string& line) {
    return line.find(" out ") != std::string::npos && line.find("serial THR") != std::string::npos;
  });
  EXPECT_EQ(writes, std::ssize(console.text()));
}

// ---- a look inside

TEST(CapiLook, MemoryIsReadAndWritten) {
  Console console;
  const auto machine = create(options_of(console, "serial_echo"));
  const std::string words = "written by the host";
  const uint64_t at = kMemory - words.size();
  const auto write = [&](uint64_t address) {
    return [&, address](auto e) {
      return thimble_machine_write_memory(machine.get(), address, words.data(), words.size(), e);
    };
  };
  std::string read(words.size(), '\0');
  const auto read_at = [&](uint64_t address) {
    return [&, address](auto e) {
      return thimble_machine_read_memory(machine.get(), address, read.data(), read.size(), e);
    };
  };
  expect(THIMBLE_OK, write(at));
  expect(THIMBLE_OK, read_at(at));
  EXPECT_EQ(read, words);
  for (const uint64_t nowhere : {at + 1, kMemory, uint64_t{0xd0000000}, ~uint64_t{0}}) {
    expect(THIMBLE_ERROR_INVALID, write(nowhere));
    expect(THIMBLE_ERROR_INVALID, read_at(nowhere));
  }
  expect(THIMBLE_OK, [&](auto e) { return thimble_machine_start(machine.get(), e); });
  console.wait_for("ready\n");
  expect(THIMBLE_OK, read_at(at));
  EXPECT_EQ(read, words);
}

TEST(CapiLook, RegistersAreReadAndSet) {
  Console console;
  const auto machine = started(options_of(console, "spin"));
  thimble_registers registers{};
  registers.size = sizeof(registers);
  const auto get = [&](unsigned vcpu) {
    return [&, vcpu](auto e) {
      return thimble_machine_get_registers(machine.get(), vcpu, &registers, e);
    };
  };
  expect(THIMBLE_ERROR_WRONG_STATE, get(0));
  expect(THIMBLE_OK, [&](auto e) { return thimble_machine_pause(machine.get(), e); });
  expect(THIMBLE_OK, get(0));
  expect(THIMBLE_ERROR_INVALID, get(1));
  EXPECT_GE(registers.rip, 0x200000U);
  EXPECT_LT(registers.rip, 0x300000U);
  EXPECT_EQ(registers.cr0 & 0x80000001U, 0x80000001U);  // protected, paged
  EXPECT_NE(registers.cr3, 0U);
  registers.r12 = 0x123456789abcdef0;
  expect(THIMBLE_OK,
         [&](auto e) { return thimble_machine_set_registers(machine.get(), 0, &registers, e); });
  registers.r12 = 0;
  expect(THIMBLE_OK, get(0));
  EXPECT_EQ(registers.r12, 0x123456789abcdef0U);
}

TEST(CapiLook, AnOlderCallersRegistersEndSooner) {
  Console console;
  const auto machine = create(options_of(console, "spin"));
  thimble_registers registers{};
  expect(THIMBLE_ERROR_INVALID,
         [&](auto e) { return thimble_machine_get_registers(machine.get(), 0, &registers, e); });
  registers.size = offsetof(thimble_registers, cr0);
  registers.cr0 = 77;
  expect(THIMBLE_OK,
         [&](auto e) { return thimble_machine_get_registers(machine.get(), 0, &registers, e); });
  EXPECT_EQ(registers.size, offsetof(thimble_registers, cr0));
  EXPECT_EQ(registers.rip, 0x200000U);
  EXPECT_EQ(registers.cr0, 77U);
}

TEST(CapiLook, AGuestGoesOnWhereItsRegistersSay) {
  Console console;
  const auto options = options_of(console, "spin");
  const auto machine = create(options);
  // mov $0x600, %dx; mov $0x34, %al; out %al, (%dx): power off.
  constexpr std::array<uint8_t, 7> kPowerOff = {0x66, 0xba, 0x00, 0x06, 0xb0, 0x34, 0xee};
  constexpr uint64_t kPlace = 0x1000000;
  expect(THIMBLE_OK, [&](auto e) {
    return thimble_machine_write_memory(machine.get(), kPlace, kPowerOff.data(), kPowerOff.size(),
                                        e);
  });
  thimble_registers registers{};
  registers.size = sizeof(registers);
  thimble_machine_get_registers(machine.get(), 0, &registers, nullptr);
  registers.rip = kPlace;
  expect(THIMBLE_OK,
         [&](auto e) { return thimble_machine_set_registers(machine.get(), 0, &registers, e); });
  expect(THIMBLE_OK, [&](auto e) { return thimble_machine_run(machine.get(), e); });
  EXPECT_EQ(thimble_machine_end_kind(machine.get()), THIMBLE_END_POWER_OFF);
}

TEST(CapiLook, AStreamNeedsVsockAndEndsWithTheMachine) {
  Console console;
  int stream = 0;
  const auto plain = create(options_of(console, "spin"));
  expect(THIMBLE_ERROR_INVALID,
         [&](auto e) { return thimble_machine_connect(plain.get(), 1024, &stream, e); });
  EXPECT_EQ(stream, -1);
  const auto options = options_of(console, "spin");
  thimble_machine_options_set_vsock(options.get(), 3);
  auto machine = started(options);
  expect(THIMBLE_OK,
         [&](auto e) { return thimble_machine_connect(machine.get(), 1024, &stream, e); });
  const Fd ours(stream);
  machine.reset();
  char byte = 0;
  EXPECT_EQ(::read(ours.get(), &byte, 1), 0);
}

// ---- snapshots

TEST(CapiSnapshot, ClonesGoOnEachByItself) {
  const Files files;
  freeze_echo(files);
  const auto snapshot = open(files);
  EXPECT_EQ(thimble_snapshot_memory(snapshot.get()), kMemory);
  EXPECT_EQ(thimble_snapshot_vcpus(snapshot.get()), 1U);
  EXPECT_GT(thimble_snapshot_stored(snapshot.get()), 0U);
  EXPECT_STRNE(thimble_snapshot_host_kernel(snapshot.get()), "");
  constexpr size_t kClones = 10;
  std::array<Console, kClones> consoles;
  std::vector<MachineHandle> clones;
  for (Console& console : consoles) clones.push_back(restore(options_of(console), snapshot));
  for (const auto& clone : clones) {
    expect(THIMBLE_OK, [&](auto e) { return thimble_machine_start(clone.get(), e); });
  }
  for (size_t i = 0; i < kClones; ++i) {
    const std::string words = "clone " + std::to_string(i) + ".";
    thimble_machine_type(clones[i].get(), words.data(), words.size());
    consoles[i].wait_for(".");
    EXPECT_EQ(consoles[i].text(), words);
    thimble_machine_type(clones[i].get(), "q", 1);
    expect(THIMBLE_OK, [&](auto e) { return thimble_machine_wait(clones[i].get(), e); });
    EXPECT_EQ(thimble_machine_end_kind(clones[i].get()), THIMBLE_END_POWER_OFF);
  }
}

TEST(CapiSnapshot, AMachineIsPreparedAndClaimed) {
  const Files files;
  freeze_echo(files);
  auto snapshot = open(files);
  Console console;
  const auto options = options_of(console);
  for (const auto* expected : {snapshot.get(), static_cast<thimble_snapshot*>(nullptr)}) {
    thimble_machine* made = nullptr;
    expect(THIMBLE_OK,
           [&](auto e) { return thimble_machine_prepare(options.get(), expected, &made, e); });
    const MachineHandle machine(made);
    expect(THIMBLE_OK,
           [&](auto e) { return thimble_machine_claim(machine.get(), snapshot.get(), e); });
    expect(THIMBLE_OK, [&](auto e) { return thimble_machine_start(machine.get(), e); });
    expect(THIMBLE_ERROR_WRONG_STATE,
           [&](auto e) { return thimble_machine_claim(machine.get(), snapshot.get(), e); });
    thimble_machine_type(machine.get(), "q", 1);
    expect(THIMBLE_OK, [&](auto e) { return thimble_machine_wait(machine.get(), e); });
    EXPECT_EQ(thimble_machine_end_kind(machine.get()), THIMBLE_END_POWER_OFF);
  }
}

TEST(CapiSnapshot, AMachineOfAnotherShapeIsRefused) {
  const Files files;
  freeze_echo(files);
  const auto snapshot = open(files);
  Console console;
  const auto options = options_of(console);
  thimble_machine_options_set_vsock(options.get(), 3);
  restore(options, snapshot, THIMBLE_ERROR_MISMATCH);
  const auto two = options_of(console);
  thimble_machine_options_set_vcpus(two.get(), 2);
  thimble_machine* made = nullptr;
  expect(THIMBLE_ERROR_MISMATCH,
         [&](auto e) { return thimble_machine_prepare(two.get(), snapshot.get(), &made, e); });
  EXPECT_EQ(made, nullptr);
}

TEST(CapiSnapshot, FilesThatWereCutOrAlteredAreRefused) {
  const Files files;
  freeze_echo(files);
  const off_t state_size = ::lseek(files.state.get(), 0, SEEK_END);
  const Files cut;
  freeze_echo(cut);
  ASSERT_EQ(::ftruncate(cut.state.get(), state_size / 2), 0);
  open(cut, THIMBLE_ERROR_CORRUPT);
  ASSERT_EQ(::pwrite(files.memory.get(), "altered", 7, 0x200000), 7);
  open(files, THIMBLE_ERROR_CORRUPT);
  ASSERT_EQ(::ftruncate(files.memory.get(), 4096), 0);
  open(files, THIMBLE_ERROR_CORRUPT);
}

TEST(CapiSnapshot, OnlyAMachineThatStandsStillIsSaved) {
  Console console;
  const auto machine = started(options_of(console, "spin"));
  const Files files;
  expect(THIMBLE_ERROR_WRONG_STATE, [&](auto e) {
    return thimble_machine_save(machine.get(), files.state.get(), files.memory.get(), e);
  });
  expect(THIMBLE_OK, [&](auto e) { return thimble_machine_pause(machine.get(), e); });
  expect(THIMBLE_ERROR_INVALID,
         [&](auto e) { return thimble_machine_save(machine.get(), -1, -1, e); });
  save(machine, files);
  expect(THIMBLE_OK, [&](auto e) { return thimble_machine_resume(machine.get(), e); });
}

}  // namespace
}  // namespace thimble::test

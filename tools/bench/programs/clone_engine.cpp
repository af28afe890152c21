// What one clone costs without any Linux in it: a payload guest that waits for a key is frozen
// once; each clone of it finds the key and switches itself off. Prints "key value" lines,
// microseconds on the clock, measured on the /dev/kvm of the machine that it runs on.
//
//   clone_engine PAYLOAD [CLONES]        (PAYLOAD: serial_echo.elf of tests/payload)
//
//   engine_floor_us             the bare system calls, up to the guest's first exit: clone_floor.h
//   engine_clone_us             Machine::restore() and run(), up to the same exit
//   engine_clone_destroy_us     the same until the clone has ended by itself and is gone
//   shell_claim_us              from the claim of a prepared machine, whose vCPU thread stands, as
//   a
//                               warm VM of the pool does it (run(ready)), up to the first exit
//   …_devices_us                the same with a disk, vsock and entropy
//
// The kinds take turns in small batches, each when the machine idles, so that they share its good
// and its bad moments; the floor of the same run is the measure of what the others cost.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "thimble/machine.h"
#include "thimble/snapshot.h"
#include "tools/bench/programs/clone_floor.h"
#include "tools/bench/programs/first_exit.h"
#include "tools/bench/programs/idle_machine.h"
#include "vmm/kvm.h"

namespace {

using namespace thimble;         // NOLINT: this file is its main()
using namespace thimble::bench;  // NOLINT

constexpr int kBatch = 50;
constexpr int kWithDevices = 5;  // one clone in so many: they are slow to destroy
constexpr std::chrono::seconds kTimeout(90);
// Until a vCPU thread sleeps as it would in a warm VM that waits.
constexpr std::chrono::microseconds kSettle(200);

template <class T>
T must(Result<T> result) {
  if (result) {
    if constexpr (std::is_void_v<T>) {
      return;
    } else {
      return std::move(*result);
    }
  }
  std::fprintf(stderr, "clone_engine: %s\n", result.error().message.c_str());
  std::exit(1);
}

double between(Clock::time_point start, Clock::time_point end) {
  return std::chrono::duration<double, std::micro>(end - start).count();
}

struct Kind {
  const char* suffix;
  bool devices;
};

MachineOptions options_of(const Kind& kind) {
  MachineOptions options;
  options.memory_bytes = 128ULL << 20;
  options.entropy = kind.devices;
  if (kind.devices) {
    options.vsock.emplace();
    Fd disk(memfd_create("disk", MFD_CLOEXEC));
    if (ftruncate(disk.get(), 1 << 20) != 0) std::exit(1);
    options.disks.push_back({.file = std::move(disk), .read_only = true, .name = "disk"});
  }
  return options;
}

std::shared_ptr<const Snapshot> freeze(const std::string& payload, const Kind& kind) {
  MachineOptions options = options_of(kind);
  options.kernel = payload;
  std::atomic<bool> ready = false;  // "ready" and a line end: from then on it only waits
  options.on_serial = [&](std::span<const uint8_t> bytes) { ready = bytes.back() == '\n'; };
  auto machine = must(Machine::create(std::move(options)));
  std::thread runner([&] { machine->run(); });
  while (!ready) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  must(machine->pause());
  Fd state(memfd_create("state", MFD_CLOEXEC));
  Fd memory(memfd_create("memory", MFD_CLOEXEC));
  must(machine->save(state.get(), memory.get()));
  machine->stop();
  runner.join();
  return must(Snapshot::open(std::move(state), std::move(memory)));
}

void expect_good(const End& end) {
  if (end.kind == End::Kind::kPowerOff) return;
  std::fprintf(stderr, "clone_engine: a clone ended badly: %s\n", end.message.c_str());
  std::exit(1);
}

// The times of one kind.
class Series {
 public:
  Series(const Kind& kind, const std::string& payload)
      : kind_(kind), snapshot_(freeze(payload, kind)) {}

  void run_floor(int kvm) {
    const FloorTimes times = measure_floor(kvm, *snapshot_);
    floor_.push_back(times.first_exit_us);
    floor_destroyed_.push_back(times.destroyed_us);
  }

  // The clone finds the key in its serial port and ends.
  void run_clone() {
    MachineOptions options = options_of(kind_);
    expect_exit();
    const auto start = Clock::now();
    auto machine = must(Machine::restore(std::move(options), *snapshot_));
    machine->type("q");
    expect_good(machine->run());
    machine.reset();
    destroyed_.push_back(between(start, Clock::now()));
    clone_.push_back(between(start, first_exit()));
  }

  void run_warm() {
    auto warm_vm = must(Machine::prepare(options_of(kind_), snapshot_.get()));
    Clock::time_point start;
    expect_good(warm_vm->run([&]() -> Result<void> {
      std::this_thread::sleep_for(kSettle);
      expect_exit();
      start = Clock::now();
      must(warm_vm->claim(*snapshot_));
      warm_vm->type("q");
      return {};
    }));
    claim_.push_back(between(start, first_exit()));
  }

  void print() {
    print("engine_floor", "p50", floor_, 0.5);
    print("engine_floor_destroy", "p50", floor_destroyed_, 0.5);
    print("engine_clone", "p50", clone_, 0.5);
    print("engine_clone", "p99", clone_, 0.99);
    print("engine_clone_destroy", "p50", destroyed_, 0.5);
    print("shell_claim", "p50", claim_, 0.5);
    print("shell_claim", "p99", claim_, 0.99);
  }

 private:
  void print(const char* name, const char* rank, std::vector<double>& values, double part) const {
    if (values.empty()) return;
    std::ranges::sort(values);
    const auto at = static_cast<size_t>(part * static_cast<double>(values.size() - 1));
    std::printf("%s%s_us_%s %.1f\n", name, kind_.suffix, rank, values[at]);
  }

  const Kind& kind_;
  std::shared_ptr<const Snapshot> snapshot_;
  std::vector<double> floor_, floor_destroyed_, clone_, destroyed_, claim_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: clone_engine PAYLOAD [CLONES]\n");
    return 2;
  }
  const int clones = argc > 2 ? std::atoi(argv[2]) : 1000;
  constexpr Kind kBare{"", false};
  constexpr Kind kFull{"_devices", true};
  Series bare(kBare, argv[1]);
  Series full(kFull, argv[1]);
  const Fd kvm = must(Kvm::open_device());
  IdleMachine machine(kTimeout);
  for (int done = 0; done < clones; done += kBatch) {
    const int batch = std::min(kBatch, clones - done);
    machine.wait();
    for (int i = 0; i < batch; ++i) bare.run_floor(kvm.get());
    for (int i = 0; i < batch; ++i) bare.run_clone();
    for (int i = 0; i < batch; ++i) bare.run_warm();
    for (int i = 0; i < batch / kWithDevices; ++i) full.run_clone();
    for (int i = 0; i < batch / kWithDevices; ++i) full.run_warm();
  }
  bare.print();
  full.print();
  std::printf("engine_clones %d\n", clones);
  std::printf("engine_idle_percent %d\n",
              100 * machine.found_idle() / std::max(1, machine.waits()));
  return 0;
}

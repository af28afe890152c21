// What one clone costs without any Linux in it: a payload guest that waits for a key is frozen
// once; each clone of it finds the key and switches itself off. Prints "key value" lines,
// microseconds.
//
//   clone_engine PAYLOAD [CLONES]        (PAYLOAD: serial_echo.elf of tests/payload)
//
// Each time runs from before the machine is made (or claimed) until run() has returned, so it
// covers the first exit and two more, and the end of the vCPU's thread. It is measured on the
// /dev/kvm of the machine that it runs on.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "thimble/machine.h"
#include "thimble/snapshot.h"

namespace {

using namespace thimble;  // NOLINT: this file is its main()
using Clock = std::chrono::steady_clock;

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

double since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
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

// The clone finds the key in its serial port and ends.
void run_clone(Machine& machine) {
  machine.type("q");
  const End end = machine.run();
  if (end.kind == End::Kind::kPowerOff) return;
  std::fprintf(stderr, "clone_engine: a clone ended badly: %s\n", end.message.c_str());
  std::exit(1);
}

double percentile(std::vector<double>& values, double part) {
  std::ranges::sort(values);
  return values[static_cast<size_t>(part * static_cast<double>(values.size() - 1))];
}

void print(const char* name, const Kind& kind, const char* unit, double value) {
  std::printf("%s%s_us_%s %.1f\n", name, kind.suffix, unit, value);
}

void measure(const Kind& kind, const Snapshot& snapshot, int clones) {
  std::vector<double> clone;
  std::vector<double> destroyed;
  std::vector<double> claim;
  for (int i = 0; i < clones; ++i) {
    MachineOptions options = options_of(kind);
    const auto start = Clock::now();
    auto machine = must(Machine::restore(std::move(options), snapshot));
    run_clone(*machine);
    clone.push_back(since(start));
    machine.reset();
    destroyed.push_back(since(start));
  }
  for (int i = 0; i < clones; ++i) {
    auto shell = must(Machine::prepare(options_of(kind)));
    const auto start = Clock::now();
    must(shell->claim(snapshot));
    run_clone(*shell);
    claim.push_back(since(start));
  }
  print("engine_clone", kind, "p50", percentile(clone, 0.5));
  print("engine_clone", kind, "p99", percentile(clone, 0.99));
  print("engine_clone_destroy", kind, "p50", percentile(destroyed, 0.5));
  print("shell_claim", kind, "p50", percentile(claim, 0.5));
  print("shell_claim", kind, "p99", percentile(claim, 0.99));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: clone_engine PAYLOAD [CLONES]\n");
    return 2;
  }
  const int clones = argc > 2 ? std::atoi(argv[2]) : 1000;
  for (const Kind& kind : {Kind{"", false}, Kind{"_devices", true}}) {
    measure(kind, *freeze(argv[1], kind), clones);
  }
  return 0;
}

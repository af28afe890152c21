// A template of a payload guest for warm VMs: frozen with what was typed to it still unread.
#pragma once

#include <atomic>
#include <chrono>
#include <string_view>
#include <thread>

#include "pool/vm/vm_process.h"
#include "tests/payload/payload_machine.h"
#include "tests/payload/snapshot_files.h"

namespace thimble::test {

constexpr uint64_t kFrozenMemory = 32ULL << 20;

// `payload` says "ready\n" and then waits for what is typed.
inline Result<FrozenFiles> frozen_payload(const std::string& payload, std::string_view typed) {
  MachineOptions options = payload_options(payload);
  options.memory_bytes = kFrozenMemory;
  options.vsock.emplace();
  std::atomic<bool> ready = false;
  options.on_serial = [&](std::span<const uint8_t> bytes) { ready = bytes.back() == '\n'; };
  auto machine = Machine::create(std::move(options));
  if (!machine) return std::unexpected(machine.error());
  std::thread runner([&] { (*machine)->run(); });
  while (!ready) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  auto done = (*machine)->pause();
  if (done) (*machine)->type(typed);
  Result<FrozenFiles> files = fail("not paused");
  if (done) files = freeze(**machine);
  (*machine)->stop();
  runner.join();
  return files;
}

// A warm VM of it, or a clone that runs at once.
inline VmSpec spec_of(const FrozenFiles& files, bool warm) {
  VmSpec spec;
  spec.machine.memory_bytes = kFrozenMemory;
  spec.machine.vsock.emplace();
  spec.snapshot = SnapshotFiles{Fd(dup(files.state.get())), Fd(dup(files.memory.get()))};
  spec.warm = warm;
  return spec;
}

}  // namespace thimble::test

// Snapshots and clones of thimble.h.
#include "vmm/capi/descriptor.h"
#include "vmm/capi/machine.h"

using namespace thimble;        // NOLINT: the C functions are in no namespace
using namespace thimble::capi;  // NOLINT

struct thimble_snapshot {
  std::shared_ptr<const Snapshot> snapshot;
};

namespace {

template <class Fact>
Fact fact_of(const thimble_snapshot* snapshot, Fact SnapshotFacts::* fact) {
  return snapshot == nullptr ? Fact() : snapshot->snapshot->facts().*fact;
}

const char* text_of(const thimble_snapshot* snapshot, std::string SnapshotFacts::* text) {
  return snapshot == nullptr ? "" : (snapshot->snapshot->facts().*text).c_str();
}

}  // namespace

thimble_error_kind thimble_machine_save(thimble_machine* machine, int state_fd, int memory_fd,
                                        thimble_error** error) noexcept {
  return answer_outside(machine, error,
                        [&] { return machine->machine->save(state_fd, memory_fd); });
}

thimble_error_kind thimble_snapshot_open(int state_fd, int memory_fd, thimble_memory_check check,
                                         thimble_snapshot** snapshot,
                                         thimble_error** error) noexcept {
  if (snapshot != nullptr) *snapshot = nullptr;
  return answer(error, [&]() -> Result<void> {
    if (auto done = given(snapshot, "snapshot"); !done) return done;
    auto state = duplicate(state_fd, "the snapshot's state file");
    if (!state) return std::unexpected(state.error());
    auto memory = duplicate(memory_fd, "the snapshot's memory file");
    if (!memory) return std::unexpected(memory.error());
    using Check = Snapshot::MemoryCheck;
    const Check how = check == THIMBLE_MEMORY_TRUST ? Check::kTrust : Check::kVerify;
    auto opened = Snapshot::open(std::move(*state), std::move(*memory), how);
    if (!opened) return std::unexpected(opened.error());
    *snapshot = std::make_unique<thimble_snapshot>(std::move(*opened)).release();
    return {};
  });
}

void thimble_snapshot_free(thimble_snapshot* snapshot) noexcept { delete snapshot; }

uint64_t thimble_snapshot_memory(const thimble_snapshot* snapshot) noexcept {
  return fact_of(snapshot, &SnapshotFacts::memory_bytes);
}

unsigned thimble_snapshot_vcpus(const thimble_snapshot* snapshot) noexcept {
  return fact_of(snapshot, &SnapshotFacts::vcpus);
}

uint64_t thimble_snapshot_stored(const thimble_snapshot* snapshot) noexcept {
  return fact_of(snapshot, &SnapshotFacts::stored_bytes);
}

uint64_t thimble_snapshot_created(const thimble_snapshot* snapshot) noexcept {
  return fact_of(snapshot, &SnapshotFacts::created);
}

const char* thimble_snapshot_host_kernel(const thimble_snapshot* snapshot) noexcept {
  return text_of(snapshot, &SnapshotFacts::host_kernel);
}

const char* thimble_snapshot_cpu_vendor(const thimble_snapshot* snapshot) noexcept {
  return text_of(snapshot, &SnapshotFacts::cpu_vendor);
}

thimble_error_kind thimble_machine_restore(const thimble_machine_options* options,
                                           const thimble_snapshot* snapshot,
                                           thimble_machine** machine,
                                           thimble_error** error) noexcept {
  return make_machine(options, machine, error,
                      [&](MachineOptions all) -> Result<std::unique_ptr<Machine>> {
                        if (auto done = given(snapshot, "snapshot"); !done) {
                          return std::unexpected(done.error());
                        }
                        return Machine::restore(std::move(all), *snapshot->snapshot);
                      });
}

thimble_error_kind thimble_machine_prepare(const thimble_machine_options* options,
                                           const thimble_snapshot* expected,
                                           thimble_machine** machine,
                                           thimble_error** error) noexcept {
  return make_machine(options, machine, error, [&](MachineOptions all) {
    return Machine::prepare(std::move(all),
                            expected == nullptr ? nullptr : expected->snapshot.get());
  });
}

thimble_error_kind thimble_machine_claim(thimble_machine* machine, const thimble_snapshot* snapshot,
                                         thimble_error** error) noexcept {
  return answer_outside(machine, error, [&]() -> Result<void> {
    if (auto done = given(snapshot, "snapshot"); !done) return done;
    return machine->machine->claim(*snapshot->snapshot);
  });
}

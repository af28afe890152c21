// Faults that other VMMs shipped in their snapshots, each kept away by a test with its name. Those
// of single devices stand with the devices' tests (vsock_restore, serial, blk); docs/snapshots.md
// lists all.
#include <gtest/gtest.h>
#include <linux/kvm_para.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "tests/payload/bare_vcpu.h"
#include "tests/payload/payload_machine.h"
#include "tests/payload/snapshot_files.h"

namespace thimble::test {
namespace {

constexpr uint32_t kKvmMsrs = 0x4b564d00;
constexpr uint32_t kKvmMsrsEnd = 0x4b564e00;

std::unique_ptr<BareVcpu> bare(Sequence& sequence, Printed& serial, Printed& power) {
  auto vcpu = std::make_unique<BareVcpu>(sequence, serial, power);
  vcpu->load("in_sequence");
  return vcpu;
}

TEST(KnownFaults, Firecracker5738AllOfKvmsOwnMsrsAreSaved) {
  Sequence sequence;
  Printed serial;
  Printed power;
  auto vcpu = bare(sequence, serial, power);
  const VcpuState state = vcpu->capture();
  const auto saved = state.msr_entries();
  const auto is_saved = [&saved](uint32_t index) {
    return std::ranges::any_of(saved, [index](const auto& entry) { return entry.index == index; });
  };
  // The host's own list says which there are; those for async page faults are not offered.
  size_t offered = 0;
  for (const uint32_t index : vcpu->abi().msrs) {
    if (index < kKvmMsrs || index >= kKvmMsrsEnd) continue;
    if (index == MSR_KVM_ASYNC_PF_EN || index == MSR_KVM_ASYNC_PF_INT ||
        index == MSR_KVM_ASYNC_PF_ACK) {
      continue;
    }
    EXPECT_TRUE(is_saved(index)) << std::hex << index;
    ++offered;
  }
  EXPECT_GE(offered, 2U);
  EXPECT_TRUE(is_saved(MSR_KVM_WALL_CLOCK_NEW));
  EXPECT_TRUE(is_saved(MSR_KVM_SYSTEM_TIME_NEW));
}

TEST(KnownFaults, Firecracker3020NoPageIsEverFaultedInBehindTheGuestsBack) {
  Sequence sequence;
  Printed serial;
  Printed power;
  auto vcpu = bare(sequence, serial, power);
  const VcpuState state = vcpu->capture();
  bool seen = false;
  for (const kvm_cpuid_entry2& entry : state.cpuid_entries()) {
    if (entry.function != KVM_CPUID_FEATURES) continue;
    seen = true;
    const uint32_t async = 1U << KVM_FEATURE_ASYNC_PF | 1U << KVM_FEATURE_ASYNC_PF_INT |
                           1U << KVM_FEATURE_ASYNC_PF_VMEXIT;
    EXPECT_EQ(entry.eax & async, 0U) << "a clone would wait for a page that nobody brings";
  }
  EXPECT_TRUE(seen);
}

// What `machine` prints until it ends, or until `word` came: then it is paused, saved and stopped.
std::string run_until(Machine& machine, Transcript& transcript, std::string_view word,
                      std::optional<FrozenFiles>& files) {
  std::thread runner([&] { machine.run(); });
  for (int i = 0; i < 20'000 && transcript.text().find(word) == std::string::npos; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  if (machine.pause()) {
    auto frozen = freeze(machine);
    EXPECT_TRUE(frozen) << frozen.error().message;
    if (frozen) files = std::move(*frozen);
  }
  machine.stop();
  runner.join();
  return transcript.text();
}

TEST(KnownFaults, Firecracker5494TheGuestIsToldThatItWasStopped) {
  Transcript transcript;
  MachineOptions options = payload_options("clock_stopped");
  options.on_serial = [&](std::span<const uint8_t> bytes) { transcript.add(bytes); };
  auto machine = Machine::create(std::move(options));
  ASSERT_TRUE(machine) << machine.error().message;
  std::optional<FrozenFiles> files;
  ASSERT_EQ(run_until(**machine, transcript, "armed\n", files), "armed\n");
  ASSERT_TRUE(files);
  auto snapshot = files->open();
  ASSERT_TRUE(snapshot) << snapshot.error().message;
  MachineOptions clone;
  clone.on_serial = [&](std::span<const uint8_t> bytes) { transcript.add(bytes); };
  auto restored = Machine::restore(std::move(clone), **snapshot);
  ASSERT_TRUE(restored) << restored.error().message;
  std::optional<FrozenFiles> unused;
  EXPECT_EQ(run_until(**restored, transcript, "told\n", unused), "armed\ntold\n");
}

}  // namespace
}  // namespace thimble::test

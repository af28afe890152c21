// The probe of the host's KVM. Where there is a /dev/kvm, of whatever kind, its guest runs on it.
#include "vmm/probe/host_probe.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

namespace thimble {
namespace {

using probe::Outcome;
using probe::Step;

bool kvm_is_ours() { return access("/dev/kvm", R_OK | W_OK) == 0; }

TEST(HostProbeTest, MissingDeviceIsSaidWithTheNextStep) {
  const HostProbe probe = probe_host({.device = "/nonexistent/kvm"});
  EXPECT_FALSE(probe.device_exists);
  EXPECT_FALSE(probe.may_open);
  EXPECT_FALSE(probe.can_run_linux);
  EXPECT_FALSE(probe.certain);
  EXPECT_NE(probe.reason.find("load the kvm module"), std::string::npos) << probe.reason;
}

TEST(HostProbeTest, DeviceThatIsNotKvmIsRefused) {
  const HostProbe probe = probe_host({.device = "/dev/null"});
  EXPECT_TRUE(probe.device_exists);
  EXPECT_TRUE(probe.may_open);
  EXPECT_FALSE(probe.can_run_linux);
  EXPECT_EQ(probe.nature, HostProbe::Nature::kUnknown);
  EXPECT_NE(probe.reason.find("KVM_GET_API_VERSION"), std::string::npos) << probe.reason;
}

TEST(HostProbeTest, EveryStepHasAnOutcomeAndTheVerdictFollowsFromThem) {
  if (!kvm_is_ours()) GTEST_SKIP() << "no /dev/kvm to try";
  const HostProbe probe = probe_host();
  ASSERT_EQ(probe.steps.size(), probe::kSteps) << probe.reason;
  EXPECT_TRUE(probe.certain);
  bool all = true;
  for (size_t i = 0; i < probe.steps.size(); ++i) {
    const auto& result = probe.steps[i];
    EXPECT_EQ(static_cast<size_t>(result.step), i);
    EXPECT_FALSE(in_words(result).empty());
    all = all && (result.outcome == Outcome::kHolds || result.outcome == Outcome::kNotNeeded);
  }
  // Plain 64-bit code runs on every KVM there is.
  EXPECT_EQ(probe.steps[0].outcome, Outcome::kHolds);
  EXPECT_EQ(probe.steps[1].outcome, Outcome::kHolds);
  EXPECT_GT(probe.instructions_per_second, 0);
  EXPECT_EQ(probe.can_run_linux, all);
  EXPECT_NE(probe.nature, HostProbe::Nature::kUnknown);
}

TEST(HostProbeTest, TheStepThatDecidesGivesTheSameVerdictAlone) {
  if (!kvm_is_ours()) GTEST_SKIP() << "no /dev/kvm to try";
  const HostProbe quick = probe_host({.only_syscall = true});
  ASSERT_EQ(quick.steps.size(), 1U) << quick.reason;
  EXPECT_EQ(quick.steps[0].step, Step::kSyscall);
  EXPECT_EQ(quick.can_run_linux, quick.steps[0].outcome == Outcome::kHolds);
  EXPECT_EQ(quick.can_run_linux, probe_host().can_run_linux);
}

TEST(HostProbeTest, ProbeThatIsOutOfTimeIsGivenUpUncertainAndLeavesNoProcess) {
  if (!kvm_is_ours()) GTEST_SKIP() << "no /dev/kvm to try";
  const HostProbe probe = probe_host({.limit = std::chrono::milliseconds(0)});
  EXPECT_FALSE(probe.can_run_linux);
  EXPECT_FALSE(probe.certain);
  EXPECT_EQ(probe.nature, HostProbe::Nature::kUnknown);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

TEST(HostProbeTest, MakingAVmIsMeasured) {
  if (!kvm_is_ours()) GTEST_SKIP() << "no /dev/kvm to try";
  auto kvm = Kvm::open();
  ASSERT_TRUE(kvm) << kvm.error().message;
  const auto cost = measure_creation(*kvm);
  ASSERT_TRUE(cost) << cost.error().message;
  EXPECT_GT(cost->create.count(), 0);
}

TEST(ProbePayloadTest, EveryStepEntersInsideTheCode) {
  std::vector<uint8_t> memory(probe::kMemorySize);
  probe::write_payload(memory);
  std::vector<uint64_t> entries;
  for (size_t i = 0; i < probe::kSteps; ++i) {
    kvm_regs regs{};
    kvm_sregs sregs{};
    probe::set_registers(static_cast<Step>(i), 7, regs, sregs);
    ASSERT_LT(regs.rip, probe::kMemorySize);
    EXPECT_NE(memory[regs.rip], 0) << i;
    EXPECT_EQ(regs.rcx, 7U);
    EXPECT_TRUE(entries.empty() || regs.rip > entries.back());
    entries.push_back(regs.rip);
    EXPECT_NE(std::string(probe::name_of(static_cast<Step>(i))), "");
  }
}

}  // namespace
}  // namespace thimble

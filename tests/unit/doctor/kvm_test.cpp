// What the doctor says about KVM, for every kind of probe result.
#include <gtest/gtest.h>

#include "tests/unit/doctor/fake_host.h"
#include "tools/doctor/checks.h"
#include "tools/doctor/report.h"

namespace thimble::doctor {
namespace {

using probe::Outcome;
using probe::Step;
using test::fact;
using test::find;

HostProbe hardware() {
  HostProbe probe;
  probe.device_exists = probe.may_open = probe.can_run_linux = probe.certain = true;
  probe.nature = HostProbe::Nature::kHardware;
  probe.instructions_per_second = 3e9;
  for (size_t i = 0; i < probe::kSteps; ++i) {
    probe.steps.push_back({.step = static_cast<Step>(i), .outcome = Outcome::kHolds});
  }
  return probe;
}

HostProbe software() {
  HostProbe probe = hardware();
  probe.can_run_linux = false;
  probe.nature = HostProbe::Nature::kSoftware;
  probe.instructions_per_second = 3e6;
  probe.reason = "its KVM is a software one";
  probe.steps[2].outcome = Outcome::kNotEmulated;
  probe.steps.back().outcome = Outcome::kWrong;
  return probe;
}

Findings check(const HostProbe& probe) {
  Findings findings;
  check_kvm(probe, findings);
  return findings;
}

TEST(DoctorKvmTest, HardwareIsAllWell) {
  const Findings findings = check(hardware());
  for (const Finding& finding : findings) EXPECT_EQ(finding.level, Level::kOk) << finding.key;
  EXPECT_EQ(fact(find(findings, "kvm_nature"), "kvm_kind"), "hardware");
  EXPECT_EQ(verdict(hardware()), "This host can run Linux guests.");
}

TEST(DoctorKvmTest, SoftwareKvmIsNamedWithWhatFailsAndTheLab) {
  const Findings findings = check(software());
  EXPECT_EQ(find(findings, "kvm_nature").level, Level::kNo);
  EXPECT_EQ(find(findings, "kvm_syscall").level, Level::kNo);
  EXPECT_NE(find(findings, "kvm_syscall").fix.find("tools/lab run"), std::string::npos);
  EXPECT_NE(find(findings, "kvm_instructions").what.find("pxor"), std::string::npos);
  EXPECT_NE(verdict(software()).find("tools/lab run -- build/bin/thimble run"), std::string::npos);
}

TEST(DoctorKvmTest, MissingDeviceAndMissingPermissionHaveDifferentAdvice) {
  HostProbe probe;
  probe.open_error = "open /dev/kvm: No such file or directory";
  const Finding missing = find(check(probe), "kvm_device");
  EXPECT_EQ(missing.level, Level::kNo);
  EXPECT_NE(missing.fix.find("firmware"), std::string::npos);
  probe.device_exists = true;
  probe.open_error = "open /dev/kvm: Permission denied";
  const Finding forbidden = find(check(probe), "kvm_device");
  EXPECT_EQ(forbidden.level, Level::kNo);
  EXPECT_NE(forbidden.fix, missing.fix);
  EXPECT_EQ(check(probe).size(), 1U);  // nothing is said about what was not tried
}

TEST(DoctorKvmTest, ProbeThatHungIsNotCalledSoftware) {
  HostProbe probe = hardware();
  probe.can_run_linux = probe.certain = false;
  probe.nature = HostProbe::Nature::kUnknown;
  probe.reason = "the probing guest hung";
  const Finding nature = find(check(probe), "kvm_nature");
  EXPECT_EQ(nature.level, Level::kNo);
  EXPECT_EQ(fact(nature, "kvm_kind"), "unknown");
  EXPECT_NE(nature.what.find("hung"), std::string::npos);
}

TEST(ReportTest, EveryLineBeginsWithItsLevelAndTheLastIsTheVerdict) {
  const Findings findings = {{.key = "a", .level = Level::kOk, .what = "fine", .fix = ""},
                             {.key = "b", .level = Level::kSlow, .what = "late", .fix = "hurry"}};
  EXPECT_EQ(as_lines(findings, hardware()),
            (std::vector<std::string>{"ok    fine", "slow  late", "      -> hurry",
                                      "This host can run Linux guests."}));
}

TEST(ReportTest, JsonIsOneFlatObject) {
  Findings findings = check(software());
  const auto json = as_json(findings, software());
  EXPECT_EQ(json["can_run_linux"], false);
  EXPECT_EQ(json["kvm_syscall"], "no");
  EXPECT_TRUE(json.contains("kvm_syscall_says"));
  EXPECT_TRUE(json.contains("kvm_syscall_fix"));
  for (const auto& [key, value] : json.items()) EXPECT_TRUE(value.is_primitive()) << key;
}

}  // namespace
}  // namespace thimble::doctor

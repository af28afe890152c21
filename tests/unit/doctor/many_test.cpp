// What the doctor says about hosts for many VMs: hints, never a refusal.
#include <gtest/gtest.h>

#include "tests/unit/doctor/fake_host.h"

namespace thimble::doctor {
namespace {

using test::fact;
using test::FakeHost;
using test::find;

Findings many(const FakeHost& host, Findings findings = {}) {
  check_many(host.places(), findings);
  return findings;
}
bool contains(const std::string& text, std::string_view words) {
  return text.find(words) != std::string::npos;
}
std::string limits(const char* files, const char* processes) {
  return std::string(
             "Limit                     Soft Limit           Hard Limit           Units\n") +
         "Max processes             100                  " + processes + "   processes\n" +
         "Max open files            1024                 " + files + "   files\n";
}

constexpr const char* kMount = "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw";

TEST(ManyTest, AHostThatTellsNothingGetsNoHints) { EXPECT_TRUE(many(FakeHost()).empty()); }

TEST(ManyTest, SmallLimitsAreNotesThatSayHowManyVmsTheyAllowAndHowToRaiseThem) {
  const FakeHost host;
  host.write("proc/self/limits", limits("1024", "1500"));
  host.write("proc/sys/kernel/pid_max", "4000\n");
  host.write("proc/sys/vm/max_map_count", "16\n");
  const Findings found = many(host);
  ASSERT_EQ(found.size(), 4U);
  for (const Finding& finding : found) {
    EXPECT_EQ(finding.level, Level::kNote) << finding.key;
    EXPECT_FALSE(finding.fix.empty()) << finding.key;
  }
  EXPECT_EQ(fact(find(found, "open_files"), "open_files_hard"), 1024);
  EXPECT_TRUE(contains(find(found, "open_files").what, "240 VMs"));
  EXPECT_TRUE(contains(find(found, "user_threads").what, "200 VMs"));
  EXPECT_TRUE(contains(find(found, "pid_max").what, "400 VMs"));
  EXPECT_TRUE(contains(find(found, "pid_max").fix, "sysctl -w kernel.pid_max"));
}

TEST(ManyTest, CommonLimitsAreAllWell) {
  const FakeHost host;
  host.write("proc/self/limits", limits("524288", "unlimited"));
  host.write("proc/sys/kernel/pid_max", "32768\n");
  host.write("proc/sys/vm/max_map_count", "65530\n");
  const Findings found = many(host);
  ASSERT_EQ(found.size(), 4U);
  for (const Finding& finding : found) {
    EXPECT_EQ(finding.level, Level::kOk) << finding.key;
    EXPECT_TRUE(finding.fix.empty()) << finding.key;
  }
  EXPECT_TRUE(contains(find(found, "user_threads").what, "unlimited"));
}

TEST(ManyTest, LimitsThatMakeNoSenseAreSurvived) {
  const FakeHost host;
  host.write("proc/self/limits", "Max open files\nMax processes   x   \nMax\n");
  host.write("proc/sys/kernel/pid_max", "many\n");
  host.write("proc/sys/vm/max_map_count", "-1\n");
  host.write("proc/self/cgroup", "0::/\n0::\n");
  host.write("proc/self/mountinfo", " - cgroup2 \n");
  EXPECT_TRUE(many(host).empty());
}

TEST(ManyTest, FavordynmodsIsAdvisedOnlyWhereItHelps) {
  const FakeHost host;
  host.write("proc/self/mountinfo", std::string(kMount) + "\n");
  const Finding unknown = find(many(host), "favordynmods");
  EXPECT_EQ(unknown.level, Level::kNote);
  EXPECT_EQ(unknown.fix, "sudo mount -o remount,favordynmods /sys/fs/cgroup");
  EXPECT_TRUE(contains(unknown.what, "0.36 ms"));
  const Findings quick = {{.key = "kvm_create", .level = Level::kOk, .what = "", .fix = ""}};
  EXPECT_EQ(find(many(host, quick), "favordynmods").level, Level::kOk);
  host.write("proc/self/mountinfo", std::string(kMount) + ",favordynmods\n");
  const Findings slow = {{.key = "kvm_create", .level = Level::kSlow, .what = "", .fix = ""}};
  EXPECT_EQ(find(many(host, slow), "favordynmods").level, Level::kOk);
}

TEST(ManyTest, AUserWithoutTheMemoryControllerIsToldHowToGetIt) {
  const FakeHost host;
  host.write("proc/self/cgroup", "0::/user.slice/mine\n");
  host.write("sys/fs/cgroup/user.slice/mine/cgroup.controllers", "cpu pids\n");
  const Finding without = find(many(host), "cgroup_memory");
  EXPECT_EQ(without.level, Level::kNote);
  EXPECT_TRUE(contains(without.fix, "Delegate=memory"));
  EXPECT_EQ(fact(without, "cgroup_controllers"), "cpu pids");
  host.write("sys/fs/cgroup/user.slice/mine/cgroup.controllers", "cpu memory pids\n");
  EXPECT_EQ(find(many(host), "cgroup_memory").level, Level::kOk);
}

TEST(ManyTest, OpenHolesOfTheProcessorAreNamed) {
  const FakeHost host;
  const std::string folder = "sys/devices/system/cpu/vulnerabilities/";
  host.write(folder + "l1tf", "Not affected\n");
  host.write(folder + "spectre_v2", "Mitigation: Enhanced IBRS\n");
  host.write("proc/cmdline", "quiet\n");
  EXPECT_EQ(find(many(host), "mitigations").level, Level::kOk);
  host.write(folder + "mds", "Vulnerable: Clear CPU buffers attempted, no microcode\n");
  host.write(folder + "itlb_multihit", "Vulnerable\n");
  const Finding open = find(many(host), "mitigations");
  EXPECT_EQ(open.level, Level::kNote);
  EXPECT_TRUE(contains(open.what, "itlb_multihit mds"));
  EXPECT_TRUE(contains(open.fix, "microcode"));
  host.write("proc/cmdline", "quiet mitigations=off\n");
  const Finding off = find(many(host), "mitigations");
  EXPECT_EQ(fact(off, "cpu_mitigations_off"), true);
  EXPECT_TRUE(contains(off.fix, "mitigations=off"));
}

}  // namespace
}  // namespace thimble::doctor

// What the doctor makes of hosts of every kind.
#include "tools/doctor/checks.h"

#include <gtest/gtest.h>
#include <seccomp.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/doctor/fake_host.h"
#include "tools/doctor/host_files.h"

namespace thimble::doctor {
namespace {

using test::fact;
using test::FakeHost;
using test::find;

bool contains(const std::string& text, std::string_view words) {
  return text.find(words) != std::string::npos;
}

constexpr const char* kPages = "sys/module/kvm/parameters/nx_huge_pages";
constexpr const char* kMounts = "proc/self/mountinfo";

Findings slowdowns(const FakeHost& host, Findings findings = {}) {
  check_slowdowns(host.places(), findings);
  return findings;
}

Findings creation(Level level) {
  return {{.key = "kvm_create", .level = level, .what = "", .fix = ""}};
}

TEST(SlowdownsTest, GracePeriodsAreBlamedOnlyWhereMakingAVmIsSlow) {
  const FakeHost host;
  host.write(kPages, "Y\n");
  EXPECT_EQ(find(slowdowns(host, creation(Level::kOk)), "nx_huge_pages").level, Level::kOk);
  EXPECT_EQ(find(slowdowns(host), "nx_huge_pages").level, Level::kNote);  // not measured
  const Finding slow = find(slowdowns(host, creation(Level::kSlow)), "nx_huge_pages");
  EXPECT_EQ(slow.level, Level::kSlow);
  EXPECT_TRUE(contains(slow.fix, "favordynmods"));
  EXPECT_EQ(fact(slow, "kvm_nx_huge_pages"), "Y");
}

TEST(SlowdownsTest, FavordynmodsOrNeverAcquitTheSettings) {
  const FakeHost host;
  host.write(kPages, "never\n");
  EXPECT_EQ(find(slowdowns(host, creation(Level::kSlow)), "nx_huge_pages").level, Level::kOk);
  host.write(kPages, "Y\n");
  host.write(
      kMounts,
      "25 1 0:20 / /sys rw - sysfs sysfs rw\n"
      "30 25 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate,favordynmods\n");
  EXPECT_EQ(find(slowdowns(host, creation(Level::kSlow)), "nx_huge_pages").level, Level::kOk);
}

TEST(SlowdownsTest, HugePagesMergingAndThreadsAreJudged) {
  const FakeHost host;
  host.write("sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
  host.write("sys/kernel/mm/ksm/run", "1\n");
  host.write("sys/devices/system/cpu/smt/active", "1\n");
  host.write("sys/module/kvm/parameters/halt_poll_ns", "200000\n");
  const Findings bad = slowdowns(host);
  EXPECT_EQ(find(bad, "transparent_huge_pages").level, Level::kSlow);
  EXPECT_FALSE(find(bad, "transparent_huge_pages").fix.empty());
  EXPECT_EQ(find(bad, "ksm").level, Level::kSlow);
  EXPECT_EQ(find(bad, "smt").level, Level::kNote);
  EXPECT_EQ(fact(find(bad, "halt_poll"), "kvm_halt_poll_ns"), 200000);
  EXPECT_EQ(find(bad, "halt_poll").level, Level::kNote);
  EXPECT_FALSE(find(bad, "halt_poll").fix.empty());

  host.write("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n");
  const Finding always = find(slowdowns(host), "transparent_huge_pages");
  EXPECT_EQ(always.level, Level::kNote);
  EXPECT_TRUE(contains(always.fix, "madvise"));

  host.write("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
  host.write("sys/kernel/mm/ksm/run", "0\n");
  host.write("sys/devices/system/cpu/smt/active", "0\n");
  host.write("sys/module/kvm/parameters/halt_poll_ns", "0\n");
  for (const Finding& finding : slowdowns(host))
    EXPECT_EQ(finding.level, Level::kOk) << finding.key;
}

TEST(SlowdownsTest, HostWithoutAnyOfTheFilesHasNothingToSay) {
  EXPECT_TRUE(slowdowns(FakeHost()).empty());
}

TEST(CgroupTest, MissingUnwritableAndDelegatedGroupsAreToldApart) {
  const FakeHost host;
  Findings findings;
  check_cgroup(host.places(), findings);
  EXPECT_EQ(find(findings, "cgroup_v2").level, Level::kNote);
  EXPECT_TRUE(contains(find(findings, "cgroup_v2").what, "not mounted"));

  host.write(kMounts, "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,favordynmods\n");
  host.write("proc/self/cgroup", "1:name=systemd:/x\n0::/user.slice/mine\n");
  findings.clear();
  check_cgroup(host.places(), findings);
  EXPECT_EQ(find(findings, "cgroup_v2").level, Level::kNote);
  EXPECT_EQ(fact(find(findings, "cgroup_v2"), "cgroup_favordynmods"), true);
  EXPECT_EQ(fact(find(findings, "cgroup_v2"), "cgroup_writable"), false);

  host.write("sys/fs/cgroup/user.slice/mine/cgroup.procs", "");
  findings.clear();
  check_cgroup(host.places(), findings);
  EXPECT_EQ(find(findings, "cgroup_v2").level, Level::kOk);
}

TEST(CgroupTest, MountTablesThatMakeNoSenseAreSurvived) {
  const FakeHost host;
  host.write(kMounts, " - cgroup2 \n\n- cgroup2\n1 2 3 - cgroup2 x\n" + std::string(9000, 'x'));
  host.write("proc/self/cgroup", "0::");
  Findings findings;
  check_cgroup(host.places(), findings);
  EXPECT_EQ(findings.size(), 1U);
}

TEST(SystemTest, ProcessorAndMemoryAreReadFromProc) {
  const FakeHost host;
  host.write("proc/cpuinfo",
             "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 1\nmodel name\t: Fast One\n"
             "flags\t\t: fpu svm hypervisor\n\nprocessor\t: 1\nvendor_id\t: AuthenticAMD\n");
  host.write("proc/meminfo", "MemTotal:       4096000 kB\nMemAvailable:    512000 kB\n");
  Findings findings;
  check_system(host.places(), findings);
  const Finding processor = find(findings, "processor");
  EXPECT_EQ(processor.level, Level::kOk);
  EXPECT_EQ(fact(processor, "cpu_count"), 2);
  EXPECT_EQ(fact(processor, "cpu_model"), "Fast One");
  EXPECT_EQ(fact(processor, "cpu_virtualization"), "svm");
  EXPECT_EQ(fact(processor, "cpu_in_vm"), true);
  const Finding memory = find(findings, "memory");
  EXPECT_EQ(fact(memory, "memory_total_mib"), 4000);
  EXPECT_EQ(memory.level, Level::kNote);
}

TEST(SystemTest, CpuinfoThatMakesNoSenseIsSurvived) {
  const FakeHost host;
  host.write("proc/cpuinfo", ":\nflags:\nflags\nvendor_id\t:\nmodel name\t: \n\t\t:x");
  host.write("proc/meminfo", "MemTotal: lots\n");
  Findings findings;
  check_system(host.places(), findings);
  EXPECT_EQ(find(findings, "processor").level, Level::kNote);
  EXPECT_EQ(find(findings, "memory").what, "no finding memory");
}

TEST(SandboxTest, RingsAndNamespacesAreTriedAndLeaveNoProcess) {
  Findings findings;
  check_io_uring({}, findings);
  check_user_namespaces({}, findings);
  ASSERT_EQ(findings.size(), 2U);
  for (const Finding& finding : findings) EXPECT_NE(finding.level, Level::kNo);
}

// Exits with 0 when `check`, in a process that may not call `forbidden`, gives one note with a fix.
[[noreturn]] void check_without(int forbidden, void (*check)(const Places&, Findings&)) {
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
  seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), forbidden, 0);
  if (seccomp_load(filter) != 0) _exit(2);
  Findings findings;
  const FakeHost host;
  check(host.places(), findings);
  const bool noted =
      findings.size() == 1 && findings[0].level == Level::kNote && !findings[0].fix.empty();
  std::filesystem::remove_all(host.root());
  _exit(noted ? 0 : 1);
}

TEST(SandboxTest, ForbiddenRingsAndNamespacesAreNotesWithAFix) {
  EXPECT_EXIT(check_without(SCMP_SYS(io_uring_setup), check_io_uring), testing::ExitedWithCode(0),
              "");
  EXPECT_EXIT(check_without(SCMP_SYS(unshare), check_user_namespaces), testing::ExitedWithCode(0),
              "");
}

TEST(FilesTest, MissingKernelAndUnwritableCacheHaveAFix) {
  const FakeHost host;
  Places places = host.places();
  Findings findings;
  check_files(places, findings);
  EXPECT_EQ(find(findings, "guest_kernel").level, Level::kNote);
  EXPECT_TRUE(contains(find(findings, "guest_kernel").fix, "tools/kernel"));
  EXPECT_NE(find(findings, "cache").level, Level::kNo);  // its parent is there

  places.kernel = "/somewhere/vmlinux";
  places.cache.clear();
  findings.clear();
  check_files(places, findings);
  EXPECT_EQ(find(findings, "guest_kernel").level, Level::kOk);
  EXPECT_EQ(find(findings, "cache").level, Level::kNo);
  EXPECT_TRUE(contains(find(findings, "cache").fix, "THIMBLE_CACHE"));
}

TEST(FilesTest, ProgramsAreFoundByPathAndNamedWithTheirPackage) {
  const FakeHost host;
  host.write("bin/node", "");
  ASSERT_EQ(chmod((host.root() / "bin/node").c_str(), 0755), 0);
  host.write("bin/npm", "");  // there, but not a program
  const std::string old = getenv("PATH");
  setenv("PATH", (host.root() / "bin").c_str(), 1);
  Findings findings;
  check_files(host.places(), findings);
  setenv("PATH", old.c_str(), 1);
  EXPECT_EQ(find(findings, "node").level, Level::kOk);
  EXPECT_EQ(find(findings, "npm").level, Level::kNote);
  EXPECT_TRUE(contains(find(findings, "mkfs_erofs").fix, "erofs-utils"));
}

TEST(HostFilesTest, ChosenWordIsTheOneInBrackets) {
  EXPECT_EQ(chosen_word("always [madvise] never"), "madvise");
  EXPECT_EQ(chosen_word("always"), "");
  EXPECT_EQ(chosen_word("]["), "");
  EXPECT_EQ(chosen_word(""), "");
}

TEST(HostFilesTest, FoldersMissingAndEmptyFilesDoNotTroubleTheReader) {
  const FakeHost host;
  host.write("empty", "");
  EXPECT_EQ(read_text(host.root() / "empty"), "");
  EXPECT_EQ(read_text(host.root()), std::nullopt);
  EXPECT_EQ(read_text(host.root() / "missing"), std::nullopt);
  EXPECT_TRUE(read_lines(host.root() / "missing").empty());
}

}  // namespace
}  // namespace thimble::doctor

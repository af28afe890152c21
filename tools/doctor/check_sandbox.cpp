// What the VMM's disks and its confinement need from the host: tried, not looked up.
#include <liburing.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "devices/text.h"
#include "tools/doctor/checks.h"
#include "tools/doctor/host_files.h"
#include "vmm/jail/jail.h"

namespace thimble::doctor {

namespace fs = std::filesystem;

namespace {

// 0, or the errno of unshare() in a child of its own.
int try_namespaces(int flags) {
  const pid_t child = ::fork();
  if (child < 0) return errno;
  if (child == 0) ::_exit(::unshare(flags) == 0 ? 0 : errno);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return errno;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
}

bool is(const fs::path& file, const char* value) { return read_text(file) == value; }

std::string namespace_fix(const fs::path& root, int error) {
  const fs::path sysctl = root / "proc/sys";
  if (is(sysctl / "kernel/unprivileged_userns_clone", "0")) {
    return "sysctl -w kernel.unprivileged_userns_clone=1";
  }
  if (is(sysctl / "user/max_user_namespaces", "0")) {
    return "sysctl -w user.max_user_namespaces=10000";
  }
  if (is(sysctl / "kernel/apparmor_restrict_unprivileged_userns", "1")) {
    return "give the thimble binary an AppArmor profile with `userns,`, or sysctl -w "
           "kernel.apparmor_restrict_unprivileged_userns=0";
  }
  if (error == EPERM) return "a container's seccomp filter may forbid it: run outside of it";
  return "";
}

struct CgroupMount {
  fs::path where;
  bool favor_dynamic_mods = false;
};

// From /proc/self/mountinfo: "36 35 98:0 / /sys/fs/cgroup rw,… - cgroup2 cgroup2 rw,favordynmods".
std::vector<CgroupMount> cgroup_mounts(const fs::path& root) {
  std::vector<CgroupMount> mounts;
  for (const std::string& line : read_lines(root / "proc/self/mountinfo")) {
    const size_t dash = line.find(" - cgroup2 ");
    const auto words = words_of(line);
    if (dash == std::string::npos || words.size() < 5) continue;
    mounts.push_back({words[4], line.find("favordynmods", dash) != std::string::npos});
  }
  return mounts;
}

// The cgroup of this process in the unified hierarchy: "0::/user.slice/…".
std::string own_cgroup(const fs::path& root) {
  for (const std::string& line : read_lines(root / "proc/self/cgroup")) {
    if (line.starts_with("0::")) return line.substr(3);
  }
  return "/";
}

}  // namespace

void check_io_uring(const Places& places, Findings& findings) {
  io_uring ring{};
  const int error = -io_uring_queue_init(8, &ring, 0);
  if (error == 0) {
    io_uring_queue_exit(&ring);
    findings.push_back({"io_uring", Level::kOk, "io_uring works: disks use it", ""});
    return;
  }
  const auto disabled = read_text(places.root / "proc/sys/kernel/io_uring_disabled");
  std::string fix;
  if (disabled && *disabled != "0") {
    fix = "sysctl -w kernel.io_uring_disabled=0 (it is " + *disabled + ")";
  } else if (error == EPERM) {
    fix = "a seccomp filter forbids it, as containers do: run outside of it";
  } else if (error == ENOSYS) {
    fix = "the host's kernel has none, or a seccomp filter hides it";
  } else if (error == ENOMEM) {
    fix = "raise the limit of locked memory (ulimit -l)";
  }
  findings.push_back({"io_uring", Level::kNote,
                      text("io_uring: %s: disks use a worker thread instead", std::strerror(error)),
                      fix});
}

void check_user_namespaces(const Places& places, Findings& findings) {
  const int error = try_namespaces(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID);
  if (error == 0) {
    findings.push_back({"user_namespaces", Level::kOk,
                        "user namespaces work: a VMM process can be shut into its own", ""});
    return;
  }
  findings.push_back(
      {"user_namespaces", Level::kNote,
       text("user namespaces: %s: a VMM process is confined less tightly", std::strerror(error)),
       namespace_fix(places.root, error)});
}

void check_confinement(Findings& findings) {
  const Confinement confinement = probe_confinement();
  Finding finding{.key = "confinement", .level = Level::kOk, .what = "", .fix = ""};
  finding.facts = {{"confinement_missing", confinement.missing.size()}};
  if (confinement.complete()) {
    finding.what = "a VMM process gets every layer of its confinement";
  } else {
    finding.level = Level::kNote;
    finding.what =
        "a VMM process is not fully confined: this host refuses " + confinement.describe();
  }
  findings.push_back(std::move(finding));
}

void check_cgroup(const Places& places, Findings& findings) {
  const auto mounts = cgroup_mounts(places.root);
  Finding finding{.key = "cgroup_v2", .level = Level::kNote, .what = "", .fix = ""};
  if (mounts.empty()) {
    finding.what = "cgroup v2 is not mounted: VMs run without limits of their own";
    finding.fix = "mount -t cgroup2 -o favordynmods cgroup2 /sys/fs/cgroup";
    finding.facts = {{"cgroup_favordynmods", false}, {"cgroup_writable", false}};
    findings.push_back(std::move(finding));
    return;
  }
  const CgroupMount& mount = mounts.front();
  const fs::path own = places.root / (mount.where.string() + own_cgroup(places.root)).substr(1);
  const bool writable =
      ::access(own.c_str(), W_OK) == 0 && ::access((own / "cgroup.procs").c_str(), W_OK) == 0;
  finding.facts = {{"cgroup_favordynmods", mount.favor_dynamic_mods},
                   {"cgroup_writable", writable}};
  if (writable) {
    finding.level = Level::kOk;
    finding.what = "cgroup v2 is mounted and ours to divide: VMs can have limits";
  } else {
    finding.what = "cgroup v2 is mounted, but our own group may not be divided: no limits for VMs";
    finding.fix =
        "start thimble in a delegated group: systemd-run --user --scope -p Delegate=yes …";
  }
  findings.push_back(std::move(finding));
}

}  // namespace thimble::doctor

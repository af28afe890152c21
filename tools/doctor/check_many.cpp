// What many VMs at once run into: limits of the host and of this user, and settings that matter for
// clones and the pool (docs/pool.md, "Tuning"). Hints: one VM runs with all of them as they are.
#include <algorithm>
#include <cstdlib>
#include <optional>

#include "devices/text.h"
#include "tools/doctor/checks.h"
#include "tools/doctor/host_files.h"

namespace thimble::doctor {

namespace fs = std::filesystem;

namespace {

using Number = unsigned long long;

// What the pool allows by itself, and what a clone was found to take (docs/pool.md): descriptors of
// the daemon, threads of its VMM process and of the `thimble run` before it, mappings.
constexpr Number kVms = 512;
constexpr Number kDescriptorsPerVm = 4;
constexpr Number kThreadsPerVm = 5;
constexpr Number kMappingsOfVmm = 64;
// What the rest of the host, and of the daemon, has in use.
constexpr Number kThreadsOfHost = 2000;
constexpr Number kDescriptorsOfDaemon = 64;

std::optional<Number> number_in(const fs::path& file) {
  const auto text = read_text(file);
  if (!text || text->empty() || text->find_first_not_of("0123456789") != std::string::npos) {
    return std::nullopt;
  }
  return std::strtoull(text->c_str(), nullptr, 10);
}

// A hard limit of this process: "Max open files   1024   524288   files". Unlimited is the highest
// number.
std::optional<Number> hard_limit(const fs::path& root, const std::string& name) {
  for (const std::string& line : read_lines(root / "proc/self/limits")) {
    if (!line.starts_with(name)) continue;
    const auto words = words_of(line.substr(name.size()));
    if (words.size() < 2) return std::nullopt;
    if (words[1] == "unlimited") return ~Number{0};
    return std::strtoull(words[1].c_str(), nullptr, 10);
  }
  return std::nullopt;
}

Number vms_within(Number limit, Number others, Number each) {
  return limit > others ? (limit - others) / each : 0;
}

std::string said(Number limit) { return limit == ~Number{0} ? "unlimited" : std::to_string(limit); }

struct Limit {
  const char* key;
  const char* fact;
  const char* name;
  const char* fix;
  Number others;
  Number each;
};

void check_limit(const Limit& limit, std::optional<Number> value, Findings& findings) {
  if (!value) return;
  const Number vms = vms_within(*value, limit.others, limit.each);
  const bool enough = vms >= kVms;
  Finding finding{
      .key = limit.key, .level = enough ? Level::kOk : Level::kNote, .what = "", .fix = ""};
  finding.what = text("%s: %s, enough for %s", limit.name, said(*value).c_str(),
                      enough ? "as many VMs as the pool allows" : text("%llu VMs", vms).c_str());
  if (!enough) {
    finding.what += text(" at once (the pool allows %llu)", kVms);
    finding.fix = limit.fix;
  }
  if (*value != ~Number{0}) finding.facts = {{limit.fact, *value}};
  findings.push_back(std::move(finding));
}

void check_limits(const fs::path& root, Findings& findings) {
  check_limit({"open_files", "open_files_hard", "open files of a process (RLIMIT_NOFILE)",
               "echo '* hard nofile 65536' | sudo tee /etc/security/limits.d/thimble.conf, and log "
               "in again (thimble.service sets it by LimitNOFILE=)",
               kDescriptorsOfDaemon, kDescriptorsPerVm},
              hard_limit(root, "Max open files"), findings);
  check_limit({"user_threads", "user_threads_hard", "threads of this user (RLIMIT_NPROC)",
               "echo '* hard nproc 32768' | sudo tee -a /etc/security/limits.d/thimble.conf, and "
               "log in again",
               kThreadsOfHost / 4, kThreadsPerVm},
              hard_limit(root, "Max processes"), findings);
  check_limit({"pid_max", "kernel_pid_max", "threads of the host (kernel.pid_max)",
               "sudo sysctl -w kernel.pid_max=4194304", kThreadsOfHost, kThreadsPerVm},
              number_in(root / "proc/sys/kernel/pid_max"), findings);
}

void check_mappings(const fs::path& root, Findings& findings) {
  const auto max_mappings = number_in(root / "proc/sys/vm/max_map_count");
  if (!max_mappings) return;
  const bool enough = *max_mappings >= kMappingsOfVmm;
  findings.push_back(
      {"map_count",
       enough ? Level::kOk : Level::kNote,
       text("mappings of a process (vm.max_map_count): %llu; a VMM process has about "
            "20, however many VMs there are",
            *max_mappings),
       enough ? "" : "sudo sysctl -w vm.max_map_count=65530",
       {{"vm_max_map_count", *max_mappings}}});
}

// Moving a process into a cgroup takes a lock of all processes, which waits for a grace period
// unless this is set. A VM's process is forked into its cgroup, and KVM's own thread follows it.
void check_favordynmods(const fs::path& root, const Finding* creation, Findings& findings) {
  for (const std::string& line : read_lines(root / "proc/self/mountinfo")) {
    const size_t dash = line.find(" - cgroup2 ");
    const auto words = words_of(line);
    if (dash == std::string::npos || words.size() < 5) continue;
    Finding finding{.key = "favordynmods", .level = Level::kOk, .what = "", .fix = ""};
    if (line.find("favordynmods", dash) != std::string::npos) {
      finding.what = "cgroup2 is mounted with favordynmods: making a VM waits for no grace period";
    } else if (creation != nullptr && creation->level == Level::kOk) {
      finding.what =
          "cgroup2 is mounted without favordynmods, and making a VM is quick all the same";
    } else {
      finding.level = Level::kNote;
      finding.what =
          "cgroup2 is mounted without favordynmods: making a VM waits for grace periods (in the "
          "lab "
          "1.4 to 12 ms each, and 0.36 ms with it); with it, forks and exits cost a little more";
      finding.fix = "sudo mount -o remount,favordynmods " + words[4];
    }
    findings.push_back(std::move(finding));
    return;
  }
}

void check_mitigations(const fs::path& root, Findings& findings) {
  std::vector<std::string> vulnerable;
  std::error_code code;
  const fs::path folder = root / "sys/devices/system/cpu/vulnerabilities";
  for (const auto& entry : fs::directory_iterator(folder, code)) {
    const auto state = read_text(entry.path());
    if (state && state->starts_with("Vulnerable")) {
      vulnerable.push_back(entry.path().filename().string());
    }
  }
  if (code) return;
  std::ranges::sort(vulnerable);
  const auto arguments = words_of(read_text(root / "proc/cmdline").value_or(""));
  const bool off = std::ranges::find(arguments, "mitigations=off") != arguments.end();
  Finding finding{.key = "mitigations", .level = Level::kOk, .what = "", .fix = ""};
  finding.facts = {{"cpu_mitigations_off", off}, {"cpu_vulnerabilities", vulnerable.size()}};
  if (vulnerable.empty()) {
    finding.what = "the kernel knows of no open hole of this processor";
  } else {
    finding.level = Level::kNote;
    finding.what = "this processor lets a guest learn what is not its own: ";
    for (const std::string& one : vulnerable) finding.what += one + " ";
    finding.what.pop_back();
    finding.what += off ? "; mitigations are switched off, which makes each exit of a VM quicker"
                        : "; the kernel has no mitigation in use";
    finding.fix = off ? "where guests are not trusted: take mitigations=off from the kernel's "
                        "command line (/etc/default/grub, then sudo update-grub)"
                      : "update the kernel and the microcode: sudo apt install amd64-microcode or "
                        "intel-microcode";
  }
  findings.push_back(std::move(finding));
}

// "0::/user.slice/…" of /proc/self/cgroup, below where cgroup2 is mounted.
void check_memory_controller(const fs::path& root, Findings& findings) {
  std::string own;
  for (const std::string& line : read_lines(root / "proc/self/cgroup")) {
    if (line.starts_with("0::/")) own = line.substr(4);
  }
  const auto here = read_text(root / "sys/fs/cgroup" / own / "cgroup.controllers");
  if (!here) return;
  const auto controllers = words_of(*here);
  const bool memory = std::ranges::find(controllers, "memory") != controllers.end();
  Finding finding{
      .key = "cgroup_memory", .level = memory ? Level::kOk : Level::kNote, .what = "", .fix = ""};
  finding.facts = {{"cgroup_controllers", *here}};
  finding.what = memory
                     ? "the memory controller reaches this cgroup: a VM's memory can be limited"
                     : "the memory controller does not reach this cgroup: what a VM takes on top "
                       "of its guest's memory is not limited";
  if (!memory) {
    finding.fix =
        "sudo mkdir -p /etc/systemd/system/user@.service.d; printf '[Service]\\nDelegate=memory "
        "pids cpu\\n' | sudo tee /etc/systemd/system/user@.service.d/thimble.conf; sudo systemctl "
        "daemon-reload, and log in again";
  }
  findings.push_back(std::move(finding));
}

}  // namespace

void check_many(const Places& places, Findings& findings) {
  const auto creation = std::ranges::find(findings, "kvm_create", &Finding::key);
  const Finding measured = creation == findings.end() ? Finding{} : *creation;
  check_favordynmods(places.root, measured.key.empty() ? nullptr : &measured, findings);
  check_memory_controller(places.root, findings);
  check_limits(places.root, findings);
  check_mappings(places.root, findings);
  check_mitigations(places.root, findings);
}

}  // namespace thimble::doctor

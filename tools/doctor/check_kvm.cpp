// KVM: is it there, is it ours to use, and what is behind it.
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>

#include "devices/text.h"
#include "tools/doctor/checks.h"
#include "tools/doctor/host_files.h"

namespace thimble::doctor {

namespace {

constexpr const char* kUseLab = "use the lab: tools/lab run -- build/bin/thimble run …";

using Nature = HostProbe::Nature;
using probe::Outcome;

const char* word_for(Nature nature) {
  if (nature == Nature::kSoftware) return "software";
  return nature == Nature::kHardware ? "hardware" : "unknown";
}

// Its name in /etc/group, or its number. Not by way of the C library's name services: thimble is
// linked statically and they are modules.
std::string group_name(gid_t number) {
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen("/etc/group", "re"), std::fclose);
  while (file) {
    const group* entry = ::fgetgrent(file.get());
    if (entry == nullptr) break;
    if (entry->gr_gid == number) return entry->gr_name;
  }
  return std::to_string(number);
}

// The device's own group is the way in where it has one.
std::string permission_fix() {
  struct stat info{};
  if (::geteuid() == 0) return "something confines this root user: look at the container's devices";
  constexpr mode_t kGroupMay = S_IRGRP | S_IWGRP;
  if (::stat("/dev/kvm", &info) == 0 && (info.st_mode & kGroupMay) == kGroupMay) {
    return "sudo usermod -aG " + group_name(info.st_gid) + " $USER, then log in again";
  }
  return "it is not open to any group: sudo chgrp kvm /dev/kvm && sudo chmod 660 /dev/kvm, then "
         "sudo usermod -aG kvm $USER and log in again";
}

void check_device(const HostProbe& probe, Findings& findings) {
  if (!probe.device_exists) {
    findings.push_back({"kvm_device", Level::kNo, "/dev/kvm is not there",
                        "switch virtualization on in the firmware (in a VM: nested "
                        "virtualization) and load the module, modprobe kvm_intel or kvm_amd; or " +
                            std::string(kUseLab)});
  } else if (!probe.may_open) {
    findings.push_back(
        {"kvm_device", Level::kNo, "/dev/kvm is there, but may not be opened", permission_fix()});
  } else if (!probe.open_error.empty()) {
    findings.push_back({"kvm_device", Level::kNo, probe.open_error, kUseLab});
  } else {
    findings.push_back({"kvm_device", Level::kOk,
                        "/dev/kvm is there, may be opened, and has what thimble stands on", ""});
  }
}

// What failed or is missing, but for the system call, which has a finding of its own.
std::string broken_instructions(const HostProbe& probe) {
  std::string out;
  for (const auto& result : probe.steps) {
    const bool good = result.outcome == Outcome::kHolds || result.outcome == Outcome::kNotNeeded;
    if (good || result.step == probe::Step::kSyscall) continue;
    out += (out.empty() ? "" : ", ") + std::string(name_of(result.step)) + ": " + in_words(result);
  }
  return out;
}

void check_nature(const HostProbe& probe, Findings& findings) {
  const double millions = probe.instructions_per_second / 1e6;
  Finding finding{.key = "kvm_nature", .level = Level::kOk, .what = "", .fix = ""};
  finding.facts = {{"kvm_kind", word_for(probe.nature)},
                   {"kvm_million_instructions_per_second", std::round(millions * 10) / 10},
                   {"kvm_probe_us", probe.took.count()}};
  if (probe.nature == Nature::kHardware) {
    finding.what = text(
        "KVM behaves as hardware does (tried with a probing guest, %.0f million instructions/s)",
        millions);
  } else if (probe.nature == Nature::kSoftware) {
    finding.level = probe.can_run_linux ? Level::kSlow : Level::kNo;
    finding.what = text(
        "KVM is a software one: guest code in ring 0 is interpreted, %.1f million instructions/s",
        millions);
    finding.fix = kUseLab;
  } else {
    finding.level = Level::kNo;
    finding.what = "no guest could be run to find out what KVM is: " + probe.reason;
    finding.fix = "try again when the host is less busy; otherwise " + std::string(kUseLab);
  }
  findings.push_back(std::move(finding));
  if (const std::string broken = broken_instructions(probe); !broken.empty()) {
    findings.push_back({"kvm_instructions", Level::kNo,
                        "instructions that Linux uses fail in a guest: " + broken, kUseLab});
  }
}

void check_syscall(const HostProbe& probe, Findings& findings) {
  const auto found =
      std::ranges::find(probe.steps, probe::Step::kSyscall, &probe::StepResult::step);
  if (found == probe.steps.end()) return;
  const bool works = found->outcome == Outcome::kHolds;
  findings.push_back({"kvm_syscall", works ? Level::kOk : Level::kNo,
                      "a guest program's system call " + in_words(*found),
                      works ? "" : "no setting changes this; " + std::string(kUseLab)});
}

}  // namespace

void check_kvm(const HostProbe& probe, Findings& findings) {
  check_device(probe, findings);
  if (!probe.open_error.empty()) return;
  check_nature(probe, findings);
  check_syscall(probe, findings);
}

void check_creation_cost(const HostProbe& probe, const Places& places, Findings& findings) {
  if (!probe.open_error.empty() || !probe.setup_error.empty()) return;
  auto kvm = Kvm::open();
  if (!kvm) return;
  const auto cost = measure_creation(*kvm);
  if (!cost) {
    findings.push_back({"kvm_create", Level::kNo, "no VM could be made: " + cost.error().message,
                        "look at `dmesg` for what KVM says"});
    return;
  }
  constexpr auto kQuick = std::chrono::microseconds(700);
  const auto made = cost->create + cost->irqchip;
  Finding finding{.key = "kvm_create", .level = Level::kOk, .what = "", .fix = ""};
  finding.facts = {{"kvm_create_us", cost->create.count()},
                   {"kvm_irqchip_us", cost->irqchip.count()},
                   {"kvm_destroy_us", cost->destroy.count()}};
  finding.what =
      text("making a VM takes %.2f ms, ending it %.2f ms", static_cast<double>(made.count()) / 1000,
           static_cast<double>(cost->destroy.count()) / 1000);
  const auto pages = read_text(places.root / "sys/module/kvm/parameters/nx_huge_pages");
  if (made > kQuick) {
    const bool explained = pages && *pages != "never";
    finding.level = Level::kSlow;
    finding.what += explained ? ": the host's kernel waits for grace periods"
                              : ": more than the fraction of a millisecond that it should be";
    finding.fix =
        explained ? "see kvm.nx_huge_pages below" : "a busy host measures too much: try again";
  }
  findings.push_back(std::move(finding));
}

}  // namespace thimble::doctor

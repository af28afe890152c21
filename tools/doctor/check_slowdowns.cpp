// Settings of the host that are known to cost a VM time or memory, each with what to do.
#include <algorithm>

#include "devices/text.h"
#include "tools/doctor/checks.h"
#include "tools/doctor/host_files.h"

namespace thimble::doctor {

namespace fs = std::filesystem;

namespace {

bool favors_dynamic_mods(const fs::path& root) {
  return std::ranges::any_of(read_lines(root / "proc/self/mountinfo"), [](const auto& line) {
    const size_t dash = line.find(" - cgroup2 ");
    return dash != std::string::npos && line.find("favordynmods", dash) != std::string::npos;
  });
}

// With the mitigation possible, KVM (until Linux 6.11) starts a recovery thread for each new VM and
// moves it into its creator's cgroups; that takes a lock which waits for grace periods unless
// favordynmods is set. So what was measured decides, and the settings explain it.
void check_recovery_thread(const fs::path& root, const Finding* creation, Findings& findings) {
  const auto pages = read_text(root / "sys/module/kvm/parameters/nx_huge_pages");
  if (!pages) return;
  Finding finding{.key = "nx_huge_pages", .level = Level::kOk, .what = "", .fix = ""};
  finding.facts = {{"kvm_nx_huge_pages", *pages}};
  finding.what = "kvm.nx_huge_pages is " + *pages;
  if (*pages == "never") {
    finding.what += ": no recovery thread per VM";
  } else if (favors_dynamic_mods(root)) {
    finding.what += ", with cgroup2 favordynmods: making a VM need not wait";
  } else if (creation != nullptr && creation->level == Level::kOk) {
    finding.what += " and cgroup2 is without favordynmods, which does not slow this kernel down";
  } else {
    finding.level = creation != nullptr ? Level::kSlow : Level::kNote;
    finding.what += text(" and cgroup2 is without favordynmods: making a VM %s for grace periods",
                         creation != nullptr ? "waits" : "may wait");
    finding.fix =
        "mount -o remount,favordynmods /sys/fs/cgroup; or kvm.nx_huge_pages=never on the kernel's "
        "command line where /sys/devices/system/cpu/vulnerabilities/itlb_multihit says \"Not "
        "affected\"";
  }
  findings.push_back(std::move(finding));
}

void check_huge_pages(const fs::path& root, Findings& findings) {
  const auto line = read_text(root / "sys/kernel/mm/transparent_hugepage/enabled");
  if (!line) return;
  const std::string chosen = chosen_word(*line);
  const bool never = chosen == "never";
  const bool always = chosen == "always";
  const char* why = "";
  if (never) why = ": guest memory is mapped in small pages, and costs more";
  // Nobody asked for it: the first touch of a few KiB takes 2 MiB.
  if (always) why = ": each of many VMs may take whole 2 MiB pages for what it writes of its own";
  findings.push_back(
      {"transparent_huge_pages",
       never ? Level::kSlow : (always ? Level::kNote : Level::kOk),
       "transparent huge pages: " + chosen + why,
       never || always ? "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled" : "",
       {{"transparent_huge_pages_mode", chosen}}});
}

void check_page_merging(const fs::path& root, Findings& findings) {
  const auto run = read_text(root / "sys/kernel/mm/ksm/run");
  if (!run) return;
  const bool on = *run == "1";
  findings.push_back({"ksm", on ? Level::kSlow : Level::kOk,
                      on ? "kernel same-page merging is on: it costs time, and lets guests learn "
                           "about each other's memory"
                         : "kernel same-page merging is off",
                      on ? "echo 2 > /sys/kernel/mm/ksm/run" : ""});
}

void check_threads(const fs::path& root, Findings& findings) {
  const auto active = read_text(root / "sys/devices/system/cpu/smt/active");
  if (!active) return;
  const bool on = *active == "1";
  findings.push_back({"smt", on ? Level::kNote : Level::kOk,
                      on ? "two threads share a core: a guest may learn from its neighbour's timing"
                         : "no two threads share a core",
                      on ? "where guests are hostile to each other: echo off > "
                           "/sys/devices/system/cpu/smt/control"
                         : ""});
}

void check_halt_polling(const fs::path& root, Findings& findings) {
  const auto halt = read_text(root / "sys/module/kvm/parameters/halt_poll_ns");
  if (!halt) return;
  const bool polls = *halt != "0";
  findings.push_back({"halt_poll",
                      polls ? Level::kNote : Level::kOk,
                      polls ? "KVM polls up to " + *halt +
                                  " ns before an idle vCPU sleeps: quicker answers of few VMs, "
                                  "processor time of many"
                            : "KVM does not poll before an idle vCPU sleeps",
                      polls ? "for hundreds of VMs: echo 0 | sudo tee "
                              "/sys/module/kvm/parameters/halt_poll_ns"
                            : "",
                      {{"kvm_halt_poll_ns", std::strtoull(halt->c_str(), nullptr, 10)}}});
}

}  // namespace

void check_slowdowns(const Places& places, Findings& findings) {
  const auto creation = std::ranges::find(findings, "kvm_create", &Finding::key);
  const Finding measured = creation == findings.end() ? Finding{} : *creation;
  check_recovery_thread(places.root, measured.key.empty() ? nullptr : &measured, findings);
  check_huge_pages(places.root, findings);
  check_page_merging(places.root, findings);
  check_threads(places.root, findings);
  check_halt_polling(places.root, findings);
}

}  // namespace thimble::doctor

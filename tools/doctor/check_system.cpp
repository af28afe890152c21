// The processor and the host's kernel, as information.
#include <sys/utsname.h>

#include <algorithm>

#include "devices/text.h"
#include "tools/doctor/checks.h"
#include "tools/doctor/host_files.h"

namespace thimble::doctor {

namespace {

// The first "name : value" line of /proc/cpuinfo with this name.
std::string cpu_line(const std::vector<std::string>& lines, std::string_view name) {
  for (const std::string& line : lines) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos || !line.starts_with(name)) continue;
    const size_t end = line.find_last_not_of(" \t", colon - 1) + 1;
    if (line.substr(0, end) == name) {
      return line.substr(std::min(line.size(), line.find_first_not_of(" \t", colon + 1)));
    }
  }
  return "";
}

void check_processor(const Places& places, Findings& findings) {
  const auto lines = read_lines(places.root / "proc/cpuinfo");
  const auto flags = words_of(cpu_line(lines, "flags"));
  const auto has = [&](const char* flag) { return std::ranges::find(flags, flag) != flags.end(); };
  const std::string vendor = cpu_line(lines, "vendor_id");
  const std::string model = cpu_line(lines, "model name");
  const auto processors = std::ranges::count_if(
      lines, [](const std::string& line) { return line.starts_with("processor"); });
  const std::string virtualization = has("vmx") ? "vmx" : has("svm") ? "svm" : "none";
  Finding finding{.key = "processor", .level = Level::kOk, .what = "", .fix = ""};
  finding.facts = {{"cpu_vendor", vendor},
                   {"cpu_model", model},
                   {"cpu_count", processors},
                   {"cpu_virtualization", virtualization},
                   {"cpu_in_vm", has("hypervisor")}};
  finding.what =
      text("%ld × %s (%s), virtualization flag: %s%s", static_cast<long>(processors),
           model.empty() ? "unknown processor" : model.c_str(), vendor.c_str(),
           virtualization.c_str(), has("hypervisor") ? "; this host is a VM itself" : "");
  if (virtualization == "none") finding.level = Level::kNote;
  findings.push_back(std::move(finding));
}

void check_kernel(Findings& findings) {
  utsname name{};
  if (::uname(&name) != 0) return;
  constexpr int kTried = 601;  // 6.1, the oldest that thimble is tried on
  int major = 0;
  int minor = 0;
  const bool read = std::sscanf(name.release, "%d.%d", &major, &minor) == 2;
  Finding finding{.key = "host_kernel", .level = Level::kOk, .what = "", .fix = ""};
  finding.facts = {{"host_kernel_release", name.release}};
  finding.what = text("%s %s", name.sysname, name.release);
  if (read && major * 100 + minor < kTried) {
    finding.level = Level::kNote;
    finding.what += ": older than 6.1, on which thimble is tried";
  }
  findings.push_back(std::move(finding));
}

void check_memory(const Places& places, Findings& findings) {
  uint64_t total = 0;
  uint64_t available = 0;
  for (const std::string& line : read_lines(places.root / "proc/meminfo")) {
    (void)std::sscanf(line.c_str(), "MemTotal: %lu", &total);
    (void)std::sscanf(line.c_str(), "MemAvailable: %lu", &available);
  }
  if (total == 0) return;
  constexpr uint64_t kComfortable = 1024;
  total /= 1024;
  available /= 1024;
  Finding finding{.key = "memory", .level = Level::kOk, .what = "", .fix = ""};
  finding.facts = {{"memory_total_mib", total}, {"memory_available_mib", available}};
  finding.what = text("%lu MiB of memory, %lu MiB available", total, available);
  if (available < kComfortable) {
    finding.level = Level::kNote;
    finding.fix = "a VM takes what its guest touches, up to --memory (512M unless told)";
  }
  findings.push_back(std::move(finding));
}

}  // namespace

void check_system(const Places& places, Findings& findings) {
  check_processor(places, findings);
  check_kernel(findings);
  check_memory(places, findings);
}

}  // namespace thimble::doctor

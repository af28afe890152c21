// See report.h.
#include "tools/doctor/report.h"

#include "devices/text.h"

namespace thimble::doctor {

const char* name_of(Level level) {
  switch (level) {
    case Level::kOk:
      return "ok";
    case Level::kNote:
      return "note";
    case Level::kSlow:
      return "slow";
    case Level::kNo:
      return "no";
  }
  return "?";
}

std::string verdict(const HostProbe& probe) {
  if (probe.can_run_linux) return "This host can run Linux guests.";
  return "This host cannot run Linux guests: " + probe.reason +
         "; use `tools/lab run -- build/bin/thimble run …`.";
}

std::vector<std::string> as_lines(const Findings& findings, const HostProbe& probe) {
  std::vector<std::string> lines;
  for (const Finding& finding : findings) {
    lines.push_back(text("%-5s %s", name_of(finding.level), finding.what.c_str()));
    if (!finding.fix.empty()) lines.push_back("      -> " + finding.fix);
  }
  lines.push_back(verdict(probe));
  return lines;
}

nlohmann::ordered_json as_json(const Findings& findings, const HostProbe& probe) {
  nlohmann::ordered_json out;
  out["can_run_linux"] = probe.can_run_linux;
  out["verdict"] = verdict(probe);
  for (const Finding& finding : findings) {
    out[finding.key] = name_of(finding.level);
    out[finding.key + "_says"] = finding.what;
    if (!finding.fix.empty()) out[finding.key + "_fix"] = finding.fix;
    for (const auto& [name, value] : finding.facts) out[name] = value;
  }
  return out;
}

}  // namespace thimble::doctor

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

std::string as_text(const Findings& findings, const HostProbe& probe) {
  std::string out;
  for (const Finding& finding : findings) {
    out += text("%-5s %s\n", name_of(finding.level), finding.what.c_str());
    if (!finding.fix.empty()) out += text("      -> %s\n", finding.fix.c_str());
  }
  return out + verdict(probe) + "\n";
}

std::string as_json(const Findings& findings, const HostProbe& probe) {
  nlohmann::ordered_json out;
  out["can_run_linux"] = probe.can_run_linux;
  out["verdict"] = verdict(probe);
  for (const Finding& finding : findings) {
    out[finding.key] = name_of(finding.level);
    out[finding.key + "_says"] = finding.what;
    if (!finding.fix.empty()) out[finding.key + "_fix"] = finding.fix;
    for (const auto& [name, value] : finding.facts) out[name] = value;
  }
  // Names of files are foreign bytes, not always UTF-8.
  return out.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace thimble::doctor

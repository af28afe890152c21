// The findings as text for a person and as JSON for a program.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tools/doctor/finding.h"
#include "vmm/probe/host_probe.h"

namespace thimble::doctor {

// One line per finding, "ok|note|slow|no  what", with its fix in a line below, and the verdict as
// the last line.
std::vector<std::string> as_lines(const Findings& findings, const HostProbe& probe);

// One flat object. For each finding KEY: KEY (its level), KEY_says, and KEY_fix where there is one;
// its facts under their own names; can_run_linux (bool) and verdict (text).
nlohmann::ordered_json as_json(const Findings& findings, const HostProbe& probe);

// "This host can run Linux guests", or why not and what to do instead.
std::string verdict(const HostProbe& probe);

}  // namespace thimble::doctor

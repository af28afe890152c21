// `thimble doctor`: what this host can do, found out without changing it.
#pragma once

#include "tools/doctor/finding.h"
#include "vmm/probe/host_probe.h"

namespace thimble::doctor {

struct Diagnosis {
  HostProbe probe;
  Findings findings;
};

// report.h makes text of it.
Diagnosis examine(const Places& places);

}  // namespace thimble::doctor

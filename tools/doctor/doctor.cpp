// See doctor.h.
#include "tools/doctor/doctor.h"

#include <cstdio>

#include "tools/doctor/checks.h"
#include "tools/doctor/report.h"

namespace thimble::doctor {

namespace {

constexpr int kExitCannot = 1;
constexpr int kExitUsage = 2;

constexpr const char* kHelp =
    "Usage: thimble doctor [--json]\n\n"
    "Says in plain words what this host can do: is /dev/kvm there and ours to use, is there "
    "hardware\n"
    "or software behind it (found out by running a tiny guest), can it run Linux guests, and what\n"
    "would make it quicker. Changes nothing on the host.\n\n"
    "Each line begins with\n"
    "  ok    nothing to do\n"
    "  note  good to know; thimble works without it\n"
    "  slow  works, but costs time: the line below has the fix\n"
    "  no    does not work: the line below says what to do\n\n"
    "Options:\n"
    "  --json     one flat JSON object: for each finding KEY its level, KEY_says, KEY_fix, and "
    "facts\n"
    "             with units in their names (kvm_create_us, memory_total_mib, …)\n"
    "  -h,--help  this text\n\n"
    "Exit status: 0 this host can run Linux guests, 1 it cannot, 2 the command line is wrong.\n\n"
    "Examples:\n"
    "  thimble doctor\n"
    "  thimble doctor --json | jq .can_run_linux\n"
    "  thimble doctor >/dev/null || echo 'use the lab'\n"
    "  tools/lab run -- build/bin/thimble doctor     what the lab's box can do\n";

}  // namespace

int doctor_main(const std::vector<std::string>& arguments, const Places& places) {
  bool json = false;
  for (const std::string& argument : arguments) {
    if (argument == "--help" || argument == "-h") {
      std::fputs(kHelp, stdout);
      return 0;
    }
    if (argument != "--json") {
      std::fprintf(stderr, "thimble doctor: unknown option %s: see thimble doctor --help\n",
                   argument.c_str());
      return kExitUsage;
    }
    json = true;
  }
  const HostProbe probe = probe_host();
  Findings findings;
  check_kvm(probe, findings);
  check_creation_cost(probe, places, findings);
  check_system(places, findings);
  check_io_uring(places, findings);
  check_user_namespaces(places, findings);
  check_confinement(findings);
  check_cgroup(places, findings);
  check_slowdowns(places, findings);
  check_many(places, findings);
  check_files(places, findings);
  const std::string report = json ? as_json(findings, probe) : as_text(findings, probe);
  std::fputs(report.c_str(), stdout);
  return probe.can_run_linux ? 0 : kExitCannot;
}

}  // namespace thimble::doctor

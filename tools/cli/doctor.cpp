// `thimble doctor`: what this host can do, in plain words. All that is found out is tools/doctor's.
#include "tools/doctor/doctor.h"

#include "pool/launch/guest_files.h"
#include "tools/cli/commands.h"
#include "tools/cli/say.h"
#include "tools/doctor/report.h"

namespace thimble::cli {

namespace {

constexpr int kExitCannot = 1;

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

int doctor_command(const Arguments& arguments) {
  bool json = false;
  for (const std::string& argument : arguments) {
    if (argument == "--help" || argument == "-h") return print_text(kHelp), 0;
    if (argument != "--json") return usage_error("thimble doctor", "unknown option " + argument);
    json = true;
  }
  doctor::Places places;
  places.cache = launch::cache_directory();
  if (auto kernel = launch::find_kernel(""); kernel) places.kernel = kernel->string();
  const auto [probe, findings] = doctor::examine(places);
  if (json) {
    print_json(doctor::as_json(findings, probe));
  } else {
    for (const std::string& line : doctor::as_lines(findings, probe)) print(line);
  }
  return probe.can_run_linux ? 0 : kExitCannot;
}

}  // namespace thimble::cli

// See doctor.h.
#include "tools/doctor/doctor.h"

#include "tools/doctor/checks.h"

namespace thimble::doctor {

Diagnosis examine(const Places& places) {
  Diagnosis found{.probe = probe_host(), .findings = {}};
  Findings& findings = found.findings;
  check_kvm(found.probe, findings);
  check_creation_cost(found.probe, places, findings);
  check_system(places, findings);
  check_io_uring(places, findings);
  check_user_namespaces(places, findings);
  check_confinement(findings);
  check_cgroup(places, findings);
  check_slowdowns(places, findings);
  check_many(places, findings);
  check_files(places, findings);
  return found;
}

}  // namespace thimble::doctor

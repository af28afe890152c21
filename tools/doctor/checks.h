// The examinations, in the order of the report. Each adds its findings and changes nothing on the
// host; none throws, and what cannot be read is left out or said to be unknown.
#pragma once

#include "tools/doctor/finding.h"
#include "vmm/probe/host_probe.h"

namespace thimble::doctor {

// /dev/kvm, hardware or software, Linux guests (check_kvm.cpp).
void check_kvm(const HostProbe& probe, Findings& findings);
void check_creation_cost(const HostProbe& probe, const Places& places, Findings& findings);

// The processor and the host's kernel (check_system.cpp).
void check_system(const Places& places, Findings& findings);

// What confines the VMM and carries its disks (check_sandbox.cpp).
void check_io_uring(const Places& places, Findings& findings);
void check_user_namespaces(const Places& places, Findings& findings);
void check_confinement(Findings& findings);
void check_cgroup(const Places& places, Findings& findings);

// Settings of the host that cost time or memory (check_slowdowns.cpp). After check_creation_cost(),
// whose finding it explains.
void check_slowdowns(const Places& places, Findings& findings);

// What many VMs at once run into, and what matters for clones and the pool (check_many.cpp). After
// check_creation_cost().
void check_many(const Places& places, Findings& findings);

// What building and running images needs (check_files.cpp).
void check_files(const Places& places, Findings& findings);

}  // namespace thimble::doctor

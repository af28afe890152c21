// Starts a process in the jail of a VMM: a fork whose child has every layer of confinement.h but
// the system call filters on before it runs its body. The filters follow per thread (filter.h).
//
//   parent                            child (in its new namespaces)
//   cgroup, fork ───────────────────> dies with its parent; waits
//   uid and gid maps ── "go" ───────> own descriptors only, beforehand(), empty root, limits, uid,
//   no capabilities
//                                     body(confinement)
//
// A layer that the host refuses is left out and noted; it is for the caller to go on or not.
#pragma once

#include <sys/types.h>

#include <functional>
#include <span>

#include "devices/fd.h"
#include "devices/result.h"
#include "vmm/jail/cgroup.h"
#include "vmm/jail/confinement.h"
#include "vmm/jail/limits.h"

namespace thimble {

struct JailOptions {
  Limits limits;
  // Runs in the child while it still has the host's files: for what it opens of its own process.
  std::function<void()> beforehand = {};
};

// The parent's hold on the process.
struct JailedProcess {
  pid_t pid = -1;
  Fd lifeline;    // the child looks for its other end before it runs its body
  Cgroup cgroup;  // goes last, when the process is gone
};

// The body's result is the exit status. `kept` are the descriptors that the child keeps, besides
// /dev/null as 0, 1 and 2. The caller has one thread, which must live as long as the child may.
using JailedBody = std::function<int(const Confinement&)>;
Result<JailedProcess> start_jailed(const JailOptions& options, std::span<const int> kept,
                                   const JailedBody& body);

// What this host refuses: starts a process in the jail that does nothing.
Confinement probe_confinement();

}  // namespace thimble

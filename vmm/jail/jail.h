// Starts a process in the jail of a VMM: one that has every layer of confinement.h but the system
// call filters on before it looks at anything of a guest's. The filters follow per thread
// (filter.h).
//
//   parent                            child (in its new namespaces)
//   cgroup, child ──────────────────> dies with its parent; executes the program, which calls
//                                     enter_jail(): waits
//   uid and gid maps ── order ──────> own descriptors only, beforehand(), empty root, limits, uid,
//                                     no capabilities
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
#include "vmm/jail/spawn.h"

namespace thimble {

struct JailOptions {
  Limits limits;
};

// The parent's hold on the process.
struct JailedProcess {
  pid_t pid = -1;
  Fd lifeline;    // the child looks for its other end before it runs its body
  Cgroup cgroup;  // goes last, when the process is gone
};

// The program finds its lifeline as its first descriptor, 3, and then `descriptors` (at most 3); it
// has to give the first to enter_jail(). The thread that calls must live as long as the child may.
Result<JailedProcess> start_in_jail(const JailOptions& options, int program, const char* name,
                                    std::span<const int> descriptors);

// For the program, while it has one thread and before anything else; ends the process when the
// parent is gone. `kept` are the descriptors that it keeps, besides /dev/null as 0, 1 and 2.
// `beforehand`, or none, is called while it still has the host's files: for what it opens of its
// own process.
Confinement enter_jail(Fd lifeline, std::span<const int> kept,
                       const std::function<void()>& beforehand);

// A fork instead of a program, for what is to be tried out: the child runs `body` in the jail, and
// its result is the exit status. The caller has one thread.
using JailedBody = std::function<int(const Confinement&)>;
Result<JailedProcess> start_jailed(const JailOptions& options, std::span<const int> kept,
                                   const JailedBody& body);

// What this host refuses: starts a process in the jail that does nothing.
Confinement probe_confinement();

}  // namespace thimble

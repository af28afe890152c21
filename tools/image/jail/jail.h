// Starts a process that may work on what strangers wrote: a fork whose child lives in namespaces of
// its own (user, mount, pid, ipc, uts, cgroup, and network but for fetching), sees a file tree that
// was put together for it (root.h), and has no capabilities, no environment and none of the
// parent's descriptors but those that are named.
//
//   parent                          child
//   fork ─────────────────────────> dies with its parent; waits
//   uid and gid maps ── "go" ─────> descriptors, environment, file tree, identity, limits
//                                   body()
//
// Unlike a VMM's (vmm/jail) this jail starts programs and has files, and it is whole or not at all:
// where the host refuses a layer there is an error with what to do.
#pragma once

#include <sys/types.h>

#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "devices/fd.h"
#include "devices/result.h"
#include "tools/image/jail/limits.h"
#include "tools/image/jail/root.h"
#include "vmm/jail/cgroup.h"

namespace thimble::image {

// Who the child is to the host. An ordinary user's is that user, whatever is asked for.
enum class JailUser {
  kNobody,  // started by root: a uid that nothing on the host has; one for each builder
  kReader,  // started by root: root, with the capability to read any file that it sees, and no
            // other
};

struct JailOptions {
  RootTree root;
  JailUser user = JailUser::kNobody;
  bool network = false;  // the host's; else none at all
  BuildLimits limits;
  // All of the child's environment but PATH, HOME, TMPDIR and the locale.
  std::vector<std::pair<std::string, std::string>> environment = {};
};

// The parent's hold on the process.
struct JailedProcess {
  pid_t pid = -1;
  Fd lifeline;    // the child looks for its other end before it runs its body
  Cgroup cgroup;  // goes last, when the process is gone
};

// uid and gid of JailUser::kNobody in jails that this process starts.
uid_t jailed_uid();

// Forks; the caller has one thread. The child keeps `kept` besides /dev/null as 0, 1 and 2; what
// `body` returns is its exit status. It ends, with all that it started, when the caller ends. To be
// waited for by its pid.
Result<JailedProcess> start_in_jail(const JailOptions& options, std::span<const int> kept,
                                    const std::function<int()>& body);

}  // namespace thimble::image

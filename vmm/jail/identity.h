// Who a VMM process is to the host: never uid 0, no capabilities, no way to get any.
//
//   started by root      uid and gid are kFirstUid + the process's pid: used by nothing else on the
//                        host, and by no other VM. Where the host maps only few ids into a
//                        container, 65534 ("nobody").
//   by an ordinary user  the user's own; in its user namespace every other id is unmapped
#pragma once

#include <sys/types.h>

#include "devices/result.h"
#include "vmm/jail/confinement.h"

namespace thimble {

// Within the ids that systemd's UIDS-GIDS document leaves unused (1879048192 to 2147352575); pids
// end at 4194304.
constexpr uid_t kFirstUid = 1879048192;

struct Identity {
  uid_t uid = 0;
  gid_t gid = 0;
  bool set_groups = false;  // the supplementary groups can be dropped
};

// The parent's part: chooses who `child` will be and, when the child is in a user namespace of its
// own, writes its maps: that id alone, inside as outside.
Result<Identity> give_identity(pid_t child, bool user_namespace);

// The child's part, in this order; capabilities are kept until drop_capabilities().
Result<void> take_identity(const Identity& identity);
void empty_bounding_set();  // reads /proc; without effect where we have no capability for it
Result<void> drop_capabilities();
// No new privileges by exec, and no memory for core dumps and tracers.
Result<void> renounce_privileges();

}  // namespace thimble

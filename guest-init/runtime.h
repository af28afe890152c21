// Tells whether what a process keeps of random numbers is reseeded in a clone (docs/identity.md),
// by what runs in it, whatever image it came from:
//   - node with our preload, which shows itself by a page of the generation file that nothing but
//     renew.so maps once node has taken it as an add-on and OpenSSL can be reseeded;
//   - python whose handler for SIGURG is in place.
// Nothing else is: a shell, a Go program or a C program may have drawn ahead, and nobody knows
// where.
#pragma once

#include <sys/types.h>

#include "guest-init/bytes.h"

namespace thimble::init {

// The first process of those listed (cgroup.procs) that is not reseeded, as "process 45
// (/bin/rnd)"; false when there is none. What has ended and was not reaped yet keeps nothing. Look
// while they are frozen: otherwise one may come and go meanwhile.
[[nodiscard]] bool find_unreseeded(const char* processes, char* who, size_t capacity);

// One process of which /proc tells these. `maps_marked`: has_reseed_mark() of its maps.
struct ProcessFacts {
  Bytes executable;  // the file that it runs, by its path
  Bytes status;      // /proc/PID/status
  bool maps_marked;
};
[[nodiscard]] bool is_reseeded(const ProcessFacts& facts);

// A line of /proc/PID/maps: whether it is renew.so's mark.
[[nodiscard]] bool has_reseed_mark(Bytes line);

// Whether a status has SIGURG among the signals that are caught.
[[nodiscard]] bool catches_sigurg(Bytes status);

}  // namespace thimble::init

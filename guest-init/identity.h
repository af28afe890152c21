// Who this guest is, told by the host over the control channel before any server code runs: fresh
// entropy, wall clock, host name, machine id, boot id.
// docs/identity.md tells what else of a program's memory is the same in every clone.
#pragma once

#include "guest-init/codec.h"

namespace thimble::init {

// Entropy first: what follows draws from it. `clone` says that this guest continues a snapshot,
// whose other clones have the same past: then the kernel's boot id is covered by a new one, too.
[[nodiscard]] bool set_identity(const Configure& message, bool clone, Failure& failure);

// Of this machine, for everybody in it.
[[nodiscard]] bool set_clock(uint64_t since_epoch_ns, Failure& failure);

// A word in a file that is new in every clone. A process may map the file and compare the word with
// what it saw last, to know that it continues in a clone; no system call is needed for that.
constexpr const char* kGenerationFile = "/run/thimble/generation";
// A runtime that reseeds what it keeps of random numbers maps the file from here on, too, and
// leaves what it finds there alone: so it is seen from outside (runtime.h).
constexpr unsigned long kReseedMarkOffset = 4096;

// Brings up lo, the only network interface.
[[nodiscard]] bool start_loopback(Failure& failure);

}  // namespace thimble::init

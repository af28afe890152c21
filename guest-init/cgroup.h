// The server's own cgroup: its processes can be frozen apart from init, and their processor time
// and their deaths for lack of memory be counted.
#pragma once

#include "guest-init/bytes.h"

namespace thimble::init {

constexpr const char* kServerProcesses = "/sys/fs/cgroup/server/cgroup.procs";

// Null when it stands, otherwise what is missing (the guest works without).
[[nodiscard]] const char* make_server_cgroup();

// Stops every process of the server, or lets them go on, and waits until the kernel says that it is
// so. Before they go on each of them gets SIGURG, which programs ignore that do not ask for it: it
// tells a runtime in a clone to reseed what it keeps of random numbers (docs/identity.md).
[[nodiscard]] bool freeze_server(bool frozen, Failure& failure);

// The oom_kill line of the server's memory.events; 0 when it cannot be read.
[[nodiscard]] uint32_t count_oom_kills();
// Microseconds of processor time that the server's processes have used; 0 when it cannot be read.
[[nodiscard]] uint64_t server_cpu_us();
// The parser of both: the number behind the word `name` at the start of a line; 0 without one.
[[nodiscard]] uint64_t parse_counter(Bytes file, const char* name);

}  // namespace thimble::init

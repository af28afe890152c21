// The file systems of the guest: kernel file systems, the read-only image under a writable layer in
// memory as the root, and the further disks that the host names.
#pragma once

#include "guest-init/bytes.h"
#include "guest-init/protocol.h"

namespace thimble::init {

// Mounts everything that needs no word from the host and makes the image of the kernel parameter
// `thimble.root=DEVICE` (`thimble.rootfstype=TYPE`, erofs when absent) the root; without it the
// initramfs stays the root.
[[nodiscard]] bool mount_system(Failure& failure);

// Makes the mount point with its parents and mounts there.
[[nodiscard]] bool mount_extra(const protocol::Mount& mount, Failure& failure);

// The server's own cgroup, so that it can be frozen apart from init and its deaths for lack of
// memory be counted. Null when it stands, otherwise what is missing (the guest works without).
[[nodiscard]] const char* make_server_cgroup();
constexpr const char* kServerCgroupProcs = "/sys/fs/cgroup/server/cgroup.procs";

// The oom_kill line of the server's memory.events; 0 when it cannot be read.
[[nodiscard]] uint32_t count_oom_kills();
// Milliseconds of processor time that the server's processes have used; 0 when it cannot be read.
[[nodiscard]] uint64_t server_cpu_ms();
// The parser of both: the number behind the word `name` at the start of a line; 0 without one.
[[nodiscard]] uint64_t parse_counter(Bytes file, const char* name);

}  // namespace thimble::init

// A child that lives in namespaces of its own: user, mount, pid, network, ipc, uts, cgroup
// (namespaces(7)). The child is made inside them, so that /dev/kvm sees one process from the VM's
// creation on, and no other process of ours is in them.
//
// In its pid namespace the child is process 1: signals from within that would end it by default are
// ignored, signals from the parent and the parent's death are not.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "devices/result.h"
#include "vmm/jail/confinement.h"
#include "vmm/jail/spawn.h"

namespace thimble {

struct Forked {
  pid_t pid = -1;           // 0 in the child
  uint64_t namespaces = 0;  // CLONE_NEW… flags that the child lives in
};

// Starts a program in as many of the namespaces as the host allows, and in the cgroup whose
// directory is `cgroup` (-1: none). What was refused is added to `confinement`. An error means that
// no process could be made at all.
Result<Forked> spawn_into_namespaces(const Program& program, int cgroup, Confinement& confinement);

// The same with a fork: the child goes on here, with a copy of all memory and of `confinement`. The
// caller has one thread.
Result<Forked> fork_into_namespaces(int cgroup, Confinement& confinement);

// In a user namespace of our own, with capabilities over it and /proc in reach: no process in it
// can make another one, and get capabilities over that. Where /proc is read-only it stays possible;
// the system call filters forbid it in any case.
void forbid_user_namespaces();

// What to do about a refused user namespace, as far as the host's settings tell; or nothing.
std::string user_namespace_advice(int error);

}  // namespace thimble

// Whether this host can run Linux guests, asked on every `thimble run`: the answer is kept in the
// cache, so that it costs a few system calls after the first time.
#pragma once

#include <filesystem>

#include "devices/result.h"
#include "vmm/probe/host_probe.h"

namespace thimble::doctor {

// The error is one line with the next step. `cache` may be empty or not writable: then the guest
// that decides runs every time.
Result<void> linux_verdict(const std::filesystem::path& cache, const char* device = "/dev/kvm",
                           HostProbe (*ask)(const ProbeOptions&) = probe_host);

// What the answer depends on: this boot, the kernel, the processor, and the device file, which is
// made anew when another KVM module is loaded. Empty when that cannot be told.
std::string host_key(const char* device);

}  // namespace thimble::doctor

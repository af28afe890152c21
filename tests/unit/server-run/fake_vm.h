// Stand-ins for a VM in tests of run_server(): a process that speaks the VM channel's protocol,
// with the real guest-init's session in another process behind unix sockets, and no VM anywhere.
#pragma once

#include <filesystem>
#include <functional>
#include <string_view>

#include "devices/fd.h"
#include "pool/guest/guest_control.h"
#include "pool/vm/vm_process.h"

namespace thimble::test {

// The body of a VM process whose guest is a real session of guest-init. Its sockets are in
// `directory`.
VmProcess::Body guest_without_vm(std::filesystem::path directory);

// The same, found as a clone is found: `server` is running in it already, settled and frozen, and
// the host that did that is gone.
VmProcess::Body frozen_guest_without_vm(std::filesystem::path directory, ServerSpec server);

// The body of a VM process whose guest does `behave` with its control channel, once it is
// connected.
VmProcess::Body guest_that(std::function<void(int control)> behave);

// What such a guest may say: that it is a fresh one; a line; and hear: the time of its kConfigure.
void say_hello(int control);
void say_notice(int control, std::string_view text);
uint64_t read_wall_clock(int control);

}  // namespace thimble::test

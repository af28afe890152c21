// What a server may have at once: docs/guest.md has every figure with its reason.
#pragma once

namespace thimble::init {

// Of this process, which all others in the guest take over, and of the kernel as a whole. The
// guest's memory is the limit that counts; a kernel that lacks one of the others keeps its own.
void set_limits_of_all();

}  // namespace thimble::init

// The initramfs with guest-init, inside the `thimble` binary: one file is all a host needs besides
// a kernel. Put there by tools/cli/cli.mk from build/thimble-init.cpio.
#pragma once

#include <cstdint>
#include <span>

namespace thimble::launch {

std::span<const uint8_t> embedded_init();

}  // namespace thimble::launch

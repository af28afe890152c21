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

}  // namespace thimble::init

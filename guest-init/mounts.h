// The file systems of the guest: kernel file systems, the read-only image under a writable layer in
// memory as the root, and the further disks that the host names.
#pragma once

#include "guest-init/bytes.h"
#include "guest-init/protocol.h"

namespace thimble::init {

// Where what the guest writes is kept: a file system in memory that nothing in the guest's root
// names.
struct Layer {
  int directory = -1;   // its descriptor; -1 when the initramfs is the root
  unsigned mounts = 0;  // how many further disks have a part of it
};

// Mounts everything that needs no word from the host and makes the image of the kernel parameter
// `thimble.root=DEVICE` (`thimble.rootfstype=TYPE`, erofs when absent) the root; without it the
// initramfs stays the root.
[[nodiscard]] bool mount_system(Layer& layer, Failure& failure);

// Makes the mount point with its parents and mounts there. A read-only disk comes under a writable
// part of the layer, as the image does: what is written stays in the guest.
[[nodiscard]] bool mount_extra(const protocol::Mount& mount, Layer& layer, Failure& failure);

}  // namespace thimble::init

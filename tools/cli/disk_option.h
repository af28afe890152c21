// --disk FILE[:ro|rw]: a file or block device of the user's as a disk of a VM. It is locked for as
// long as any process holds the descriptor, so until the VM has ended: by one VM that writes, or by
// any number that read (flock(2), which other programs may ask for too). Images of our own are not
// locked: nobody writes to them.
#pragma once

#include <string>

#include "devices/result.h"
#include "vmm/include/thimble/machine.h"

namespace thimble::cli {

Result<Disk> open_disk(std::string option);

}  // namespace thimble::cli

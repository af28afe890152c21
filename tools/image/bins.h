// How a command of an npm package is started: by what its file begins with, as the kernel and a
// shell would. The files are anybody's; only their head is read, and nothing is run.
#pragma once

#include <string>
#include <vector>

#include "devices/result.h"
#include "tools/image/beneath.h"

namespace thimble::image {

// The argv that starts `file` of `package`, which lies at `guest_file` in a guest with the node
// image. An error says why it cannot be started there.
Result<std::vector<std::string>> command_of_bin(const Folder& package, const std::string& file,
                                                const std::string& guest_file);

}  // namespace thimble::image

// Puts the parts of pool/image/reseed.h into an image.
#pragma once

#include "devices/result.h"
#include "pool/image/manifest.h"
#include "tools/image/rootfs.h"

namespace thimble::image {

Result<void> add_node_reseed(const Building& building, Manifest& manifest);

// Before the standard library is compiled: the module becomes part of it.
Result<void> add_python_reseed(const Building& building, Manifest& manifest);

}  // namespace thimble::image

// What runtimes keep of random numbers must be renewed in a clone (docs/identity.md): adds the
// parts that do so, guest-init/renew/, to an image and its environment.
#pragma once

#include <string>

#include "devices/result.h"
#include "tools/image/image.h"
#include "tools/image/manifest.h"
#include "tools/image/rootfs.h"

namespace thimble::image {

Result<void> add_node_renewal(const Building& building, Manifest& manifest);

// Before the standard library is compiled: the module becomes part of it.
Result<void> add_python_renewal(const Building& building, Manifest& manifest);

// Over all that is added: an image with other parts is another image.
std::string renewal_digest();

}  // namespace thimble::image

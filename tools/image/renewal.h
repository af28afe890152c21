// What runtimes need for servers that are cloned, guest-init/renew/: what they keep of random
// numbers must be renewed in a clone (docs/identity.md), and what a clone would compile at its
// first request is better compiled before the freeze (docs/templates.md).
#pragma once

#include <string>
#include <vector>

#include "devices/result.h"
#include "tools/image/image.h"
#include "tools/image/manifest.h"
#include "tools/image/rootfs.h"

namespace thimble::image {

Result<void> add_node_renewal(const Building& building, Manifest& manifest);

// Before the standard library is compiled: the module becomes part of it.
Result<void> add_python_renewal(const Building& building, Manifest& manifest);

// In the environment of a server that is frozen when it is ready, "K=V" each: node compiles ahead.
// Nothing for images without our parts for node.
void compile_ahead(std::vector<std::string>& environment);

// Over all that is added: an image with other parts is another image.
std::string renewal_digest();

}  // namespace thimble::image

// What goes into each kind of image: node, python, busybox, an npm package on top of node. Each
// function fills the root of a Building and says how the result is started.
#pragma once

#include "devices/result.h"
#include "pool/image/manifest.h"
#include "pool/image/request.h"
#include "tools/image/rootfs.h"

namespace thimble::image {

Result<Manifest> make_busybox(Building& building);
Result<Manifest> make_node(Building& building, NodeSource source);
Result<Manifest> make_python(Building& building);
Result<Manifest> make_npm(Building& building, const NpmSpec& spec, NodeSource source);

}  // namespace thimble::image

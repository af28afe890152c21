// The process that builds an image for those who wait for it (pool/image/ensure.h): a session of
// its own, the log of the name as stderr, the lock of the name held until it ends.
#pragma once

#include <span>
#include <string>

namespace thimble::image {

// `arguments`: the store's cache, the key. The exit status: what came of it is in the log.
int builder_main(std::span<const std::string> arguments);

}  // namespace thimble::image

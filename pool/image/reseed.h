// What runtimes need for servers that are cloned, guest-init/reseed/: what they keep of random
// numbers must be reseeded in a clone (docs/identity.md), and what a clone would compile at its
// first request is better compiled before the freeze (docs/templates.md). The builders put it into
// images (tools/image/reseed_files.h).
#pragma once

#include <string>
#include <vector>

namespace thimble::image {

// In the guest's /, by the names that images have them by (guest-init/init.mk).
inline constexpr const char* kReseedFolder = "usr/lib/thimble";
inline constexpr const char* kReseedFile = "renew.cjs";
inline constexpr const char* kCompileAheadFile = "compile_ahead.cjs";

// A file of that folder as an option of node.
std::string preload(const char* file);

// In the environment of a server that is frozen when it is ready, "K=V" each: node compiles ahead.
// Nothing for images without our parts for node.
void compile_ahead(std::vector<std::string>& environment);

// Over all that is added: an image with other parts is another image.
std::string reseed_digest();

}  // namespace thimble::image

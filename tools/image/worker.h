// The jailed part of a build: everything that looks at what a package, a Debian archive or a folder
// of the user's contains. It has no network; what it needs fetched it asks for.
#pragma once

#include <string>
#include <vector>

#include "pool/image/request.h"

namespace thimble::image {

// Places in the jail.
inline constexpr const char* kBuildFolder = "/build";    // writable; what is done is left in it
inline constexpr const char* kSourceFolder = "/source";  // the user's own folder, read-only
inline constexpr const char* kCacheFolder = "/cache";    // of which only pinned tools are there

// What a guest gave out (GuestRoot), in the build folder.
inline constexpr const char* kGuestRoot = "guest-root.tar";

// What the worker leaves in the build folder.
inline constexpr const char* kMadeImage = "rootfs.erofs";
inline constexpr const char* kMadeReport = "report.json";

// The body of the jailed process: its exit status. `left_out` are files of a user's own folder that
// do not go in.
int build_in_jail(const Request& request, const std::vector<std::string>& left_out, int channel);

// Whether the image is made of a folder of the user's.
bool is_from_host(const Request& request);

}  // namespace thimble::image

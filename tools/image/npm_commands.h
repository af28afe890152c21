// The commands of an installed npm package.
#pragma once

#include <filesystem>

#include "devices/result.h"
#include "pool/image/manifest.h"
#include "tools/image/npm.h"
#include "tools/image/rootfs.h"

namespace thimble::image {

// Where it lies in a guest: no directory of the host that is mounted at its own path could hide it.
inline constexpr const char* kGuestApp = "/opt/thimble/app";

// Every command that can be started goes into the manifest; why another cannot is kept for whoever
// asks for it. An error when there is none at all.
Result<void> add_commands(Building& building, const std::filesystem::path& app,
                          InstalledPackage& installed, Manifest& manifest);

}  // namespace thimble::image

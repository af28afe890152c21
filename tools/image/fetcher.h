// Fetching for a build, each in a jail of its own with the host's network: npm for a package of the
// request or a tool of ours, apt-get for Debian's packages. Nothing that they fetch is opened there
// but by them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "devices/result.h"
#include "pool/image/request.h"
#include "tools/image/jail/jail.h"
#include "tools/image/npm.h"

namespace thimble::image {

// The jails. `folder` is the build folder in them. npm's has the user's settings for npm
// (npm_settings.h), and it alone.
JailOptions package_fetch(const BuildLimits& limits, const std::filesystem::path& folder);
JailOptions debian_fetch(const BuildLimits& limits, const std::filesystem::path& folder);

// Bodies of the jailed processes: what they fetched lies where fetch.h says; a tool beside it.
int fetch_package_in_jail(const NpmSpec& spec, int channel);
int fetch_pinned_in_jail(const PinnedPackage& package, int channel);
int fetch_debian_in_jail(const std::vector<std::string>& names, int channel);

}  // namespace thimble::image

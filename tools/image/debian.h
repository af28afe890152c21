// Debian packages as a source of files: downloaded by apt-get (which checks the archive's
// signatures), unpacked without being installed and without running their scripts. No root needed.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "devices/result.h"
#include "tools/image/rootfs.h"

namespace thimble::image {

// Downloads the packages to fetch.h's place below `folder`.
Result<void> fetch_debian(const std::vector<std::string>& packages,
                          const std::filesystem::path& folder);

// Why apt-get could not download, in one line, by what it `said` on stderr.
std::string explain_apt(const std::string& said);

// Has the packages fetched and unpacks them into `to`, /bin, /sbin, /lib and /lib64 below usr/ as
// in merged-/usr; leaves out documentation and translations. Records the versions in the building's
// inputs.
Result<void> unpack_debian(Building& building, const std::vector<std::string>& packages,
                           const std::filesystem::path& to);

// Those of `packages` that this machine's lists of Debian's packages have.
std::vector<std::string> debian_knows(const std::vector<std::string>& packages);

// For each path that an installed package owns: "package version".
std::map<std::string, std::string> debian_owners(const std::vector<std::filesystem::path>& paths);

}  // namespace thimble::image

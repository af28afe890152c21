// Symbolic links in what a command names. Somebody else may have made them: a link brings nothing
// in that the user's words do not cover.
#pragma once

#include <filesystem>

#include "devices/result.h"
#include "pool/image/command/places.h"

namespace thimble::image {

// Who may lead out of its folder.
enum class LinkRule {
  kData,     // nobody
  kProgram,  // links of a folder called bin or .bin, where package managers put commands
};

// The true path of `written`, which is absolute, normal and exists. Each link on the way must stay
// in the folder that holds it or in the project that this folder belongs to, or, where it belongs
// to none, in the current directory. Links that root made in folders of root's are followed
// wherever they lead, unless we are root.
Result<std::filesystem::path> follow_links(const std::filesystem::path& written, LinkRule rule,
                                           const Places& places);

}  // namespace thimble::image

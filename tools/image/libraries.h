// Shared libraries for the programs and native addons that a package brings: which are asked for is
// read from the package's ELF files (elf_needs.h), and they come from Debian's packages.
#pragma once

#include <filesystem>
#include <map>
#include <set>
#include <string>

#include "devices/result.h"
#include "tools/image/rootfs.h"

namespace thimble::image {

struct LibraryNeeds {
  // Name of a library -> a file that asks for it, relative to the tree. What the loader finds in
  // the tree itself is not among them.
  std::map<std::string, std::string> libraries;
  // Libraries of the tree, wherever they lie: programs load such by their path, ahead of others
  // that ask for them by name.
  std::set<std::string> brought;
  // Debian packages of libraries that a program loads by a name in its text, such as ICU for .NET,
  // -> a file that does.
  std::map<std::string, std::string> packages;
};

// Reads all ELF files below `tree`, which may be anybody's. Needs no network. Files for musl or
// another processor are alternatives that packages bring for other machines: they ask for nothing.
LibraryNeeds collect_needs(const std::filesystem::path& tree);

// Downloads what the root does not have yet, and what that needs in turn. What cannot be had is
// said by `building.progress` and recorded: it is no error, since it may be for a part of the
// package that is never used.
Result<void> add_libraries(Building& building, const LibraryNeeds& needs);

// The Debian package that has a library, by Debian's rule for their names: libX11.so.6 is in
// libx11-6. Most follow it; the others are in a table.
std::string debian_package_of(const std::string& soname);

}  // namespace thimble::image

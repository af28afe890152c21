// Which folders a program brings with it, by the rules by which node and python find modules.
#pragma once

#include <filesystem>
#include <vector>

#include "pool/image/command/places.h"

namespace thimble::image {

// The folder of the package or project that `directory` belongs to: itself or the nearest above it
// with a package.json, pyproject.toml, setup.py or .git that may go in as a whole. A package.json
// that says nothing but the kind of modules below it ({"type":"module"}) is none, unless there is
// no other. Empty: there is none.
std::filesystem::path package_root(const std::filesystem::path& directory, const Places& places);

// The tree in which links of `directory` may point around: the package root, or that of the
// workspace, whatever node_modules the directory is in. Empty: none.
std::filesystem::path project_root(const std::filesystem::path& directory, const Places& places);

// For a program in `directory`: its package root, or the directory itself; for node also what its
// search upwards finds: the whole workspace when there is one, else every node_modules above.
// Without the first of them the program's file goes in alone.
std::vector<std::filesystem::path> program_folders(const std::filesystem::path& directory,
                                                   const Places& places, bool node);

}  // namespace thimble::image

// A root file system while it is being put together: a plain directory tree with the merged-/usr
// layout of Debian, and the record of what went into it.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "devices/result.h"
#include "pool/image/progress.h"
#include "tools/image/fetch.h"

namespace thimble::image {

// What every step of a build works with, in the builder's jail. Owned by worker.cpp.
struct Building {
  std::filesystem::path cache;  // ${THIMBLE_CACHE}: what is kept between builds lies below npm/
  std::filesystem::path work;   // scratch, removed afterwards
  std::filesystem::path root;   // work/root: becomes the image
  nlohmann::json inputs = nlohmann::json::object();  // becomes Manifest::inputs
  Progress progress;
  Fetcher fetch;  // the only way to the network
};

// Directories, /etc with root, nobody and user (1000), no password anywhere.
Result<void> make_skeleton(const Building& building);

// Copies an executable to /usr/bin and every shared library that it needs to where its loader
// looks, and records their versions. Runs the loader of the binary's own C library on it, so only
// for binaries that come from Debian or are pinned by this project, never for a user's package.
Result<void> add_executable(Building& building, const std::filesystem::path& binary,
                            const std::string& name);

// busybox with links for its applets, so that servers which call a shell find one.
Result<void> add_busybox(Building& building);

// This machine's CA certificates, when it has any, where OpenSSL, Go and others look for them.
Result<void> add_certificates(Building& building);

}  // namespace thimble::image

// Bundling an installed npm package to one file with esbuild, so that node opens and compiles one
// file and not hundreds. Never runs the package's code.
//
// A bundle must behave as the unbundled program does, so node_modules stays in the image and every
// expression that tells a file where it is (import.meta.url, __dirname, a require() of a computed
// name) is tied to the file's unbundled place before bundling. Whatever could still differ is a
// reason not to bundle; that is no error.
#pragma once

#include <filesystem>
#include <string>

#include "devices/result.h"
#include "tools/image/rootfs.h"

namespace thimble::image {

struct Bundle {
  std::string file;     // relative to the application's directory; empty when not bundled
  std::string refusal;  // why not
};

// `app` holds node_modules and will lie at `guest_app` in the guest; `entry` is relative to `app`.
// On success the bundle was written into `app`. An error means that esbuild could not be fetched.
Result<Bundle> bundle_entry(Building& building, const std::filesystem::path& app,
                            const std::string& entry, const std::string& guest_app);

// A source text tied to the place `guest_path`; unchanged when nothing in it depends on its place.
std::string tie_to_place(std::string text, const std::string& guest_path, bool is_module);

// What in a bundle (white space minified, comments gone) may behave otherwise than unbundled;
// empty when nothing does.
std::string find_hazard(std::string_view bundle);

}  // namespace thimble::image

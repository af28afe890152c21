// The bundler's list of the files that it reads (esbuild's metafile). Which files those are is up
// to the package: require() of an absolute path, of "../..", or of a pattern of names reads
// whatever of the host matches. So the list is judged before anything is made of it.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace thimble::image {

// The files that go into a bundle, and whether the entry is an ECMAScript module.
struct BundleInputs {
  std::vector<std::string> files = {};    // relative to the application's directory, sorted
  std::vector<std::string> modules = {};  // those of them that are ECMAScript modules
  bool entry_is_module = false;
};

// Nothing when the text is no metafile.
std::optional<BundleInputs> parse_metafile(const std::string& text, const std::string& entry);

// Why these files cannot be bundled: one is outside the application, not JavaScript, or has a name
// that could not be written into JavaScript as it is. Empty when all are good.
std::string refuse_inputs(const BundleInputs& inputs);

// Letters, digits and "/@.-+~_$" only: such paths are put into JavaScript strings and file URLs
// without escapes.
bool is_plain_path(const std::string& path);

}  // namespace thimble::image

// See early_end.h.
#include "tools/cli/early_end.h"

#include <nlohmann/json.hpp>

#include "pool/image/store.h"
#include "tools/cli/key_hint.h"
#include "tools/cli/say.h"

namespace thimble::cli {

namespace {

constexpr size_t kMaxPackages = 4;

// "node_modules/a/node_modules/b" is b.
std::string package_of(const std::string& place) {
  constexpr std::string_view kFolder = "node_modules/";
  const size_t at = place.rfind(kFolder);
  return at == std::string::npos ? place : place.substr(at + kFolder.size());
}

// "npm:@scope/package@1.2.3" without its ends.
std::string requested_package(std::string contents) {
  if (contents.starts_with("npm:")) contents.erase(0, 4);
  const size_t version = contents.find('@', 1);
  return contents.substr(0, version);
}

// Images of the user's own (--image FILE) are not in the store, and nothing is known of them. Only
// a failed server pays for reading what its image was made from.
std::string hint_of_image(const std::filesystem::path& erofs) {
  const auto store = image::Store::open();
  const std::string digest = erofs.parent_path().filename();
  if (!store || erofs.parent_path().parent_path() != store->root()) return {};
  const auto image = store->open_image(digest, digest);
  if (!image) return {};
  const auto manifest = store->manifest(*image);
  const auto inputs = store->inputs(*image);
  return manifest && inputs ? scripts_hint(*inputs, manifest->name) : std::string();
}

}  // namespace

std::string scripts_hint(const nlohmann::json& inputs, const std::string& contents) {
  const auto scripts = inputs.find("install_scripts");
  if (scripts == inputs.end() || !scripts->is_object() || scripts->empty()) return {};
  std::string listed;
  size_t count = 0;
  for (const auto& [place, script] : scripts->items()) {
    if (++count > kMaxPackages) break;
    listed += (listed.empty() ? "" : ", ") + package_of(place);
    if (script.is_string()) listed += " (" + script.get<std::string>() + ")";
  }
  if (scripts->size() > kMaxPackages) {
    listed += " and " + std::to_string(scripts->size() - kMaxPackages) + " more";
  }
  return "the server ended at once, and these install scripts were not run: " + listed +
         ": if it misses what they make, write thimble image build --run-scripts npm:" +
         requested_package(contents) +
         " (in a microVM without network), or install it with npm in a folder of yours and run its "
         "command from there";
}

std::function<void(std::string_view)> explain_early_end(std::vector<std::string> given,
                                                        std::filesystem::path erofs) {
  return [given = std::move(given), erofs = std::move(erofs)](std::string_view output) {
    if (const std::string hint = key_hint(output, given); !hint.empty()) say(hint);
    if (const std::string hint = hint_of_image(erofs); !hint.empty()) say(hint);
  };
}

}  // namespace thimble::cli

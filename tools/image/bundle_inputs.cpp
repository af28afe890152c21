// See bundle_inputs.h.
#include "tools/image/bundle_inputs.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>

#include "devices/foreign_json.h"
#include "tools/image/beneath.h"

namespace thimble::image {
namespace {

using nlohmann::json;

bool is_javascript(const std::string& file) {
  constexpr std::array<std::string_view, 4> kExtensions = {".js", ".mjs", ".cjs", ".json"};
  const std::string extension = std::filesystem::path(file).extension().string();
  return std::ranges::find(kExtensions, extension) != kExtensions.end();
}

}  // namespace

std::optional<BundleInputs> parse_metafile(const std::string& text, const std::string& entry) {
  const json meta = read_foreign_json(text);
  const auto found = meta.is_object() ? meta.find("inputs") : meta.end();
  if (!meta.is_object() || found == meta.end() || !found->is_object()) return std::nullopt;
  BundleInputs inputs;
  for (const auto& [file, input] : found->items()) {
    if (!input.is_object()) return std::nullopt;
    inputs.files.push_back(file);
    const auto format = input.find("format");
    if (format == input.end() || *format != "esm") continue;
    inputs.modules.push_back(file);
    inputs.entry_is_module = inputs.entry_is_module || file == entry;
  }
  return inputs;
}

std::string refuse_inputs(const BundleInputs& inputs) {
  for (const std::string& file : inputs.files) {
    if (!is_inner_name(file)) return "it loads a file outside the package: " + file;
    if (!is_javascript(file)) return "it loads " + file + ", which is not JavaScript";
    if (!is_plain_path(file)) return "a file has an unusual name: " + file;
  }
  return {};
}

bool is_plain_path(const std::string& path) {
  return std::ranges::all_of(path, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_$/@.-+~").contains(c);
  });
}

}  // namespace thimble::image

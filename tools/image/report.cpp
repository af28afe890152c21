// See report.h.
#include "tools/image/report.h"

#include "devices/foreign_json.h"

namespace thimble::image {
namespace {

using nlohmann::json;

constexpr const char* kDamaged = "the jailed build's report: damaged: try again";

}  // namespace

std::string report_to_text(const Report& report) {
  Manifest manifest = report.manifest;
  // To be a whole manifest for its reader.
  manifest.rootfs_sha256 = manifest.inputs_sha256 = std::string(64, '0');
  return to_text({{"manifest", manifest_to_json(manifest)}, {"inputs", report.inputs}});
}

Result<Report> report_from_text(const std::string& text) {
  const json value = read_foreign_json(text);
  if (!value.is_object()) return fail(kDamaged);
  const auto manifest = value.find("manifest");
  const auto inputs = value.find("inputs");
  if (manifest == value.end() || !manifest->is_string() || inputs == value.end() ||
      !inputs->is_object()) {
    return fail(kDamaged);
  }
  Result<Manifest> read = manifest_from_json(manifest->get_ref<const std::string&>(), "manifest");
  if (!read) return fail(kDamaged);
  return Report{.manifest = std::move(*read), .inputs = *inputs};
}

}  // namespace thimble::image

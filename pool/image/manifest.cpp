// Writing and strict reading of manifest.json.
#include "pool/image/manifest.h"

#include "devices/foreign_json.h"
#include "pool/image/image.h"

namespace thimble::image {
namespace {

using nlohmann::json;

constexpr int kFormat = 2;

bool is_hex_digest(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// Each reader leaves `out` alone and returns false when the value is of another type.
bool read(const json& value, std::string& out) {
  if (!value.is_string()) return false;
  out = value.get_ref<const std::string&>();
  return out.find('\0') == std::string::npos;
}

bool read(const json& value, std::uint64_t& out) {
  if (!value.is_number_unsigned()) return false;
  out = value.get<std::uint64_t>();
  return true;
}

bool read(const json& value, std::vector<std::string>& out) {
  if (!value.is_array()) return false;
  for (const json& item : value) {
    if (!read(item, out.emplace_back())) return false;
  }
  return true;
}

template <class T>
bool read(const json& value, std::map<std::string, T>& out) {
  if (!value.is_object()) return false;
  for (const auto& [key, item] : value.items()) {
    if (!read(item, out[key])) return false;
  }
  return true;
}

template <class T>
bool read_member(const json& object, const char* name, T& out) {
  const auto member = object.find(name);
  return member != object.end() && read(*member, out);
}

}  // namespace

std::map<std::string, std::string> base_environment() {
  return {{"HOME", "/root"},
          {"LANG", "C.UTF-8"},
          {"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}};
}

std::string to_text(const json& value) {
  return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string manifest_to_json(const Manifest& manifest) {
  const json value = {
      {"format", kFormat},
      {"name", manifest.name},
      {"rootfs", {{"sha256", manifest.rootfs_sha256}, {"size", manifest.rootfs_size}}},
      {"command", manifest.command},
      {"commands", manifest.commands},
      {"env", manifest.env},
      {"workdir", manifest.workdir},
      {"inputs", {{"sha256", manifest.inputs_sha256}}}};
  return to_text(value);
}

Result<Manifest> manifest_from_json(std::string_view text, const std::string& where) {
  const std::string remedy = ": build the image again";
  const json value = read_foreign_json(text);
  if (!value.is_object()) return fail(where + ": damaged: not a JSON object" + remedy);
  const auto format = value.find("format");
  if (format == value.end() || *format != kFormat) {
    return fail(where + ": unknown format, this thimble reads " + std::to_string(kFormat) + remedy);
  }
  Manifest manifest;
  const auto rootfs = value.find("rootfs");
  const auto inputs = value.find("inputs");
  const bool sound = rootfs != value.end() && rootfs->is_object() &&
                     read_member(*rootfs, "sha256", manifest.rootfs_sha256) &&
                     read_member(*rootfs, "size", manifest.rootfs_size) &&
                     read_member(value, "name", manifest.name) &&
                     read_member(value, "command", manifest.command) &&
                     read_member(value, "commands", manifest.commands) &&
                     read_member(value, "env", manifest.env) &&
                     read_member(value, "workdir", manifest.workdir) && inputs != value.end() &&
                     inputs->is_object() &&
                     read_member(*inputs, "sha256", manifest.inputs_sha256) &&
                     is_hex_digest(manifest.rootfs_sha256) &&
                     is_hex_digest(manifest.inputs_sha256) && manifest.workdir.starts_with('/');
  if (!sound) return fail(where + ": damaged: a field is missing or of the wrong kind" + remedy);
  return manifest;
}

}  // namespace thimble::image

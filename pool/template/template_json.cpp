// TemplateFacts as JSON, and the strict way back.
#include <nlohmann/json.hpp>

#include "devices/foreign_json.h"
#include "pool/template/template.h"

namespace thimble {

namespace {

using nlohmann::json;

constexpr int kFormat = 2;
constexpr unsigned kMaxVcpus = 8;

bool read(const json& value, std::string& out) {
  if (!value.is_string()) return false;
  out = value.get_ref<const std::string&>();
  return out.find('\0') == std::string::npos;
}

template <class T>
  requires std::is_unsigned_v<T>
bool read(const json& value, T& out) {
  if (!value.is_number_unsigned()) return false;
  const auto wide = value.get<uint64_t>();
  out = static_cast<T>(wide);
  return out == wide;
}

bool read(const json& value, std::vector<std::string>& out) {
  if (!value.is_array()) return false;
  for (const json& item : value) {
    if (!read(item, out.emplace_back())) return false;
  }
  return true;
}

template <class T>
bool member(const json& object, const char* name, T& out) {
  if (!object.is_object()) return false;
  const auto found = object.find(name);
  return found != object.end() && read(*found, out);
}

bool read_disks(const json& value, TemplateFacts& facts) {
  const auto disks = value.find("disks");
  if (disks == value.end() || !disks->is_array()) return false;
  for (const json& disk : *disks) {
    TemplateFacts::DiskFile& file = facts.disks.emplace_back();
    if (!member(disk, "path", file.path) || !member(disk, "name", file.name)) return false;
  }
  return true;
}

bool read_server(const json& value, ServerSpec& server) {
  const auto found = value.find("server");
  return found != value.end() && member(*found, "arguments", server.arguments) &&
         member(*found, "environment", server.environment) &&
         member(*found, "workdir", server.workdir) && member(*found, "user", server.user) &&
         member(*found, "term_grace_ms", server.term_grace_ms);
}

bool read_point(const json& value, FreezeRequest::Point& point) {
  std::string name;
  if (!member(value, "frozen", name)) return false;
  point = name == "ready" ? FreezeRequest::Point::kReady : FreezeRequest::Point::kBeforeExec;
  return name == "ready" || name == "before-exec";
}

}  // namespace

std::string template_to_json(const TemplateFacts& facts) {
  json disks = json::array();
  for (const auto& [path, name] : facts.disks) disks.push_back({{"path", path}, {"name", name}});
  const ServerSpec& server = facts.server;
  json value = {{"format", kFormat},
                {"frozen", facts.point == FreezeRequest::Point::kReady ? "ready" : "before-exec"},
                {"memory_bytes", facts.memory_bytes},
                {"vcpus", facts.vcpus},
                {"disks", disks},
                {"server",
                 {{"arguments", server.arguments},
                  {"environment", server.environment},
                  {"workdir", server.workdir},
                  {"user", server.user},
                  {"term_grace_ms", server.term_grace_ms}}},
                {"inherited", facts.inherited},
                {"command", facts.command},
                {"created", facts.created},
                {"memory_mark", facts.memory_mark}};
  if (!facts.note.empty()) value["note"] = facts.note;
  return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

FileResult<TemplateFacts> template_from_json(std::string_view text, const std::string& where) {
  const json value = read_foreign_json(text);
  if (!value.is_object()) return unsound(where + ": damaged: make the template again");
  const auto format = value.find("format");
  if (format == value.end() || *format != kFormat) {
    return unsound(where + ": made by another version of thimble: make the template again");
  }
  TemplateFacts facts;
  const bool sound =
      read_point(value, facts.point) && member(value, "memory_bytes", facts.memory_bytes) &&
      member(value, "vcpus", facts.vcpus) && facts.vcpus >= 1 && facts.vcpus <= kMaxVcpus &&
      read_disks(value, facts) && read_server(value, facts.server) &&
      member(value, "inherited", facts.inherited) && member(value, "command", facts.command) &&
      member(value, "created", facts.created) && member(value, "memory_mark", facts.memory_mark) &&
      (!value.contains("note") || member(value, "note", facts.note));
  if (!sound) return unsound(where + ": damaged: make the template again");
  return facts;
}

}  // namespace thimble

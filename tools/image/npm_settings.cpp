// See npm_settings.h. The format is npm's `ini`: "key = value" lines, comments led by ; or #,
// values in quotes, "key[] = value" for lists.
#include "tools/image/npm_settings.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "devices/foreign_json.h"
#include "pool/image/files.h"
#include "tools/image/process.h"

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

constexpr const char* kCertificates = "/settings/cafile.pem";
constexpr const char* kMoreCertificates = "/settings/extra.pem";
constexpr std::uint64_t kLongestFile = 4 << 20;
// The values of a list, in one string.
constexpr char kBetween = '\0';

constexpr std::array<std::string_view, 20> kAllowed = {"registry",
                                                       "replace-registry-host",
                                                       "proxy",
                                                       "https-proxy",
                                                       "noproxy",
                                                       "cafile",
                                                       "ca",
                                                       "strict-ssl",
                                                       "maxsockets",
                                                       "fetch-retries",
                                                       "fetch-retry-factor",
                                                       "fetch-retry-mintimeout",
                                                       "fetch-timeout",
                                                       "fetch-retry-maxtimeout",
                                                       "before",
                                                       "engine-strict",
                                                       "min-release-age",
                                                       "legacy-peer-deps",
                                                       "local-address",
                                                       "strict-peer-deps"};
// Of one registry: "//host/path/:_authToken".
constexpr std::array<std::string_view, 5> kAllowedOfHost = {"_authToken", "_auth", "username",
                                                            "_password", "email"};
// Read by npm's and apt's own networking.
constexpr std::array kProxies = {"http_proxy", "https_proxy", "no_proxy", "all_proxy",
                                 "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"};

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && std::string_view(" \t\r").contains(text.front())) text.remove_prefix(1);
  while (!text.empty() && std::string_view(" \t\r").contains(text.back())) text.remove_suffix(1);
  return text;
}

// "text" as JSON, 'text' as it is, otherwise up to a comment.
std::string unquoted(std::string_view text) {
  text = trimmed(text);
  if (text.size() >= 2 && text.front() == '\'' && text.back() == '\'') {
    text.remove_prefix(1);
    text.remove_suffix(1);
  }
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') {
    const nlohmann::json value = read_foreign_json(text);
    if (value.is_string()) return value.get<std::string>();
  }
  std::string value;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const bool escapes =
        text[at] == '\\' && at + 1 < text.size() && std::string_view(";#\\").contains(text[at + 1]);
    if (escapes) ++at;
    if (!escapes && (text[at] == ';' || text[at] == '#')) break;
    value += text[at];
  }
  return std::string(trimmed(value));
}

// As npm does, names of variables that are not set stay as they are.
std::string expanded(std::string text, const Variables& variables) {
  for (std::size_t at = 0; (at = text.find("${", at)) != std::string::npos;) {
    const std::size_t end = text.find('}', at);
    if (end == std::string::npos) break;
    std::string name = text.substr(at + 2, end - at - 2);
    const bool optional = name.ends_with('?');
    if (optional) name.pop_back();
    const char* value = variables(name.c_str());
    if (value == nullptr && !optional) {
      at = end;
      continue;
    }
    const std::string_view put = value == nullptr ? "" : value;
    text.replace(at, end + 1 - at, put);
    at += put.size();
  }
  return text;
}

// "cafile" names a file of the user's: its content goes along, its name does not.
void move_certificates(Settings& settings, NpmSettings& made) {
  const auto named = settings.find("cafile");
  if (named == settings.end()) return;
  const Result<std::string> content = read_file(named->second, kLongestFile);
  if (!content) return;
  made.files.emplace_back(kCertificates, *content);
  named->second = kCertificates;
}

void pick_environment(NpmSettings& made) {
  made.environment = proxy_variables();
  const char* more = std::getenv("NODE_EXTRA_CA_CERTS");
  if (more == nullptr) return;
  if (Result<std::string> content = read_file(more, kLongestFile)) {
    made.files.emplace_back(kMoreCertificates, std::move(*content));
    made.environment.emplace_back("NODE_EXTRA_CA_CERTS", kMoreCertificates);
  }
}

std::string content_of(const fs::path& file) {
  return read_file(file, kLongestFile).value_or(std::string());
}

// The value of a variable in either case, as npm reads it, or `otherwise`.
fs::path named_file(const char* name, const char* capitals, const fs::path& otherwise) {
  for (const char* variable : {name, capitals}) {
    const char* value = std::getenv(variable);
    if (value != nullptr && *value != '\0') return value;
  }
  return otherwise;
}

}  // namespace

bool is_allowed_setting(std::string_view name) {
  if (name.ends_with("[]")) name.remove_suffix(2);
  if (name.starts_with("//")) {
    const std::size_t colon = name.rfind(':');
    return colon != std::string_view::npos &&
           std::ranges::find(kAllowedOfHost, name.substr(colon + 1)) != kAllowedOfHost.end();
  }
  if (name.starts_with('@')) return name.ends_with(":registry");
  return std::ranges::find(kAllowed, name) != kAllowed.end();
}

void add_npmrc(std::string_view text, const Variables& variables, Settings& settings) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.starts_with('[')) return;  // sections mean nothing to npm
    if (line.empty() || line[0] == ';' || line[0] == '#') continue;
    const std::size_t equals = line.find('=');
    const std::string name = expanded(unquoted(line.substr(0, equals)), variables);
    const std::string value = equals == std::string_view::npos
                                  ? "true"
                                  : expanded(unquoted(line.substr(equals + 1)), variables);
    if (!is_allowed_setting(name)) continue;
    // A list is one setting with several lines.
    std::string& entry = settings[name];
    if (name.ends_with("[]") && !entry.empty()) {
      entry += kBetween;
    } else {
      entry.clear();
    }
    entry += value;
  }
}

void add_npm_variables(const std::vector<std::string_view>& environment, Settings& settings) {
  constexpr std::string_view kPrefix = "npm_config_";
  for (const std::string_view entry : environment) {
    const std::size_t equals = entry.find('=');
    if (equals == std::string_view::npos || equals <= kPrefix.size()) continue;
    std::string name(entry.substr(0, equals));
    std::ranges::transform(name.begin(), name.begin() + kPrefix.size(), name.begin(), ::tolower);
    if (!name.starts_with(kPrefix)) continue;
    name.erase(0, kPrefix.size());
    if (!name.starts_with("//") && !name.starts_with('@')) {
      std::ranges::transform(name, name.begin(), ::tolower);
      std::replace(name.begin() + 1, name.end(), '_', '-');
    }
    const std::string_view value = entry.substr(equals + 1);
    if (!value.empty() && is_allowed_setting(name)) settings[name] = value;
  }
}

std::string to_npmrc(const Settings& settings) {
  std::string text;
  const auto quoted = [](const std::string& value) {
    return nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  };
  for (const auto& [name, values] : settings) {
    for (std::size_t at = 0; at <= values.size();) {
      const std::size_t end = std::min(values.find(kBetween, at), values.size());
      const bool list = name.ends_with("[]");
      text += name + "=" + quoted(list ? values.substr(at, end - at) : values) + "\n";
      if (!list) break;
      at = end + 1;
    }
  }
  return text;
}

std::vector<std::pair<std::string, std::string>> proxy_variables() {
  std::vector<std::pair<std::string, std::string>> found;
  for (const char* name : kProxies) {
    if (const char* value = std::getenv(name)) found.emplace_back(name, value);
  }
  return found;
}

NpmSettings read_npm_settings() {
  std::error_code code;
  const Variables variables = [](const char* name) -> const char* { return std::getenv(name); };
  const char* home = std::getenv("HOME");
  const fs::path prefix = fs::canonical(find_program("node"), code).parent_path().parent_path();
  Settings settings;
  // The administrator's, the user's, the call's: the later ones count.
  add_npmrc(content_of(named_file(
                "npm_config_globalconfig", "NPM_CONFIG_GLOBALCONFIG",
                fs::exists("/etc/npmrc", code) ? fs::path("/etc/npmrc") : prefix / "etc/npmrc")),
            variables, settings);
  add_npmrc(content_of(named_file("npm_config_userconfig", "NPM_CONFIG_USERCONFIG",
                                  home == nullptr ? fs::path() : fs::path(home) / ".npmrc")),
            variables, settings);
  std::vector<std::string_view> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
  add_npm_variables(environment, settings);
  NpmSettings made;
  move_certificates(settings, made);
  pick_environment(made);
  made.files.emplace_back(kNpmSettings, to_npmrc(settings));
  return made;
}

}  // namespace thimble::image

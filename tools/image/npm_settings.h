// The user's settings for npm, as far as fetching needs them. npm itself runs in a jail without the
// user's home and environment, so what it may know is picked here by name: which registry, how to
// sign in there, by which proxy and certificates, and what the user refuses to install. Everything
// else of a configuration (scripts, shells, paths, other programs) stays out.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace thimble::image {

// Where the fetching jail has them.
inline constexpr const char* kNpmSettings = "/settings/npmrc";

struct NpmSettings {
  std::vector<std::pair<std::string, std::string>> files;  // place in the jail, content
  // Of the fetching step: proxies, more certificates.
  std::vector<std::pair<std::string, std::string>> environment;
};

// From this process's environment, ~/.npmrc and the configuration of the npm in PATH. Unreadable
// files count as empty. What it returns may hold secrets.
NpmSettings read_npm_settings();

// The part of the environment that apt-get reads too.
std::vector<std::pair<std::string, std::string>> proxy_variables();

// Parts of it, split off for the tests.
using Variables = std::function<const char*(const char* name)>;
using Settings = std::map<std::string, std::string>;
bool is_allowed_setting(std::string_view name);
// Adds the allowed settings of an npmrc text; ${NAME} stands for a variable.
void add_npmrc(std::string_view text, const Variables& variables, Settings& settings);
// Adds those of an environment's "npm_config_NAME=VALUE" entries.
void add_npm_variables(const std::vector<std::string_view>& environment, Settings& settings);
std::string to_npmrc(const Settings& settings);

}  // namespace thimble::image

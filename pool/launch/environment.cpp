// See environment.h.
#include "pool/launch/environment.h"

#include <fnmatch.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "devices/text.h"

namespace thimble::launch {

namespace {

constexpr size_t kMaxVariables = 4096;

// Some variables of an image say where things are, or load what a clone needs (docs/identity.md):
// the user's are added to them.
void set_variable(std::map<std::string, std::string>& environment, const std::string& name,
                  const std::string& value) {
  std::string& variable = environment[name];
  if (name == "PATH" && !variable.empty()) {
    // The user's comes first. The image's own must stay, or nothing of it would be found.
    variable = value.empty() ? variable : value + ":" + variable;
    return;
  }
  const char* separator = name == "NODE_OPTIONS" ? " " : name == "LD_PRELOAD" ? ":" : nullptr;
  variable = separator == nullptr || variable.empty() ? value : variable + separator + value;
}

bool add_matching(const std::string& pattern, std::map<std::string, std::string>& environment) {
  bool found = false;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string variable(*entry);
    const size_t equals = variable.find('=');
    if (equals == std::string::npos || equals == 0) continue;
    const std::string name = variable.substr(0, equals);
    if (::fnmatch(pattern.c_str(), name.c_str(), FNM_NOESCAPE) != 0) continue;
    set_variable(environment, name, variable.substr(equals + 1));
    found = true;
  }
  return found;
}

bool is_pattern(const std::string& name) { return name.find_first_of("*?[") != std::string::npos; }

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

std::string unquoted(const std::string& value) {
  const bool quoted =
      value.size() >= 2 && (value[0] == '"' || value[0] == '\'') && value.back() == value[0];
  return quoted ? value.substr(1, value.size() - 2) : value;
}

constexpr const char* kNames = "letters, digits and _, no digit first";

// A pattern where no value follows.
bool is_name(const std::string& name, bool may_be_pattern) {
  const std::string allowed =
      std::string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") +
      (may_be_pattern ? "*?[]" : "");
  return !name.empty() && (name[0] < '0' || name[0] > '9') &&
         name.find_first_not_of(allowed) == std::string::npos;
}

}  // namespace

Result<std::vector<std::string>> read_env_file(const std::filesystem::path& file) {
  const std::string what = "--env-file " + file.string();
  const std::string shown = file.string();
  std::ifstream lines(file);
  if (!lines) return fail_errno(what);
  std::vector<std::string> variables;
  size_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    line = trimmed(line);
    if (line.empty() || line[0] == '#') continue;
    if (line.starts_with("export ")) line = trimmed(line.substr(7));
    const size_t equals = line.find('=');
    const std::string name = trimmed(line.substr(0, equals));
    if (!is_name(name, equals == std::string::npos)) {
      return fail(text("%s:%zu: this is no name of a variable (%s): write K=V or K, one in a line",
                       shown.c_str(), number, kNames));
    }
    if (variables.size() == kMaxVariables) {
      return fail(text("%s:%zu: more than %zu variables", shown.c_str(), number, kMaxVariables));
    }
    variables.push_back(equals == std::string::npos
                            ? name
                            : name + "=" + unquoted(trimmed(line.substr(equals + 1))));
  }
  if (lines.bad()) return fail(what + ": cannot be read: give a file");
  return variables;
}

Result<void> check_environment(const std::vector<std::string>& wanted) {
  for (size_t i = 0; i < wanted.size(); ++i) {
    const size_t equals = wanted[i].find('=');
    if (is_name(wanted[i].substr(0, equals), equals == std::string::npos)) continue;
    return fail(
        text("--env number %zu is no name of a variable (%s): write K=V or K", i + 1, kNames));
  }
  return {};
}

Result<std::vector<std::string>> add_environment(const std::vector<std::string>& wanted,
                                                 std::map<std::string, std::string>& environment) {
  std::vector<std::string> missing;
  for (const std::string& variable : wanted) {
    const size_t equals = variable.find('=');
    const std::string name = variable.substr(0, equals);
    if (name.empty()) return fail("--env: a name is missing: write K=V or K");
    if (equals != std::string::npos) {
      set_variable(environment, name, variable.substr(equals + 1));
    } else if (is_pattern(name)) {
      if (!add_matching(name, environment)) missing.push_back(name);
    } else if (const char* value = std::getenv(name.c_str()); value != nullptr) {
      set_variable(environment, name, value);
    } else {
      missing.push_back(name);
    }
  }
  return missing;
}

}  // namespace thimble::launch

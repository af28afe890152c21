// See key_hint.h.
#include "tools/cli/key_hint.h"

#include <algorithm>
#include <cstdlib>

namespace thimble::cli {

namespace {

constexpr size_t kMaxNames = 4;
constexpr size_t kLongestName = 64;

bool is_part(char c) { return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// API_KEY, and no word in capitals or part of another word.
bool looks_like_a_key(const std::string& name) {
  return name.size() <= kLongestName && name[0] >= 'A' && name[0] <= 'Z' && name.back() != '_' &&
         name.find('_') != std::string::npos && !name.starts_with("THIMBLE_");
}

bool is_given(const std::string& name, const std::vector<std::string>& given) {
  return std::ranges::any_of(given, [&](const std::string& variable) {
    return variable.starts_with(name) && variable.size() > name.size() &&
           variable[name.size()] == '=';
  });
}

}  // namespace

std::vector<std::string> keys_not_given(std::string_view output,
                                        const std::vector<std::string>& given) {
  std::vector<std::string> names;
  for (size_t at = 0; at < output.size() && names.size() < kMaxNames;) {
    size_t end = at;
    while (end < output.size() && (is_part(output[end]) || is_letter(output[end]))) ++end;
    const std::string name(output.substr(at, end - at));
    at = end + 1;
    if (name.empty() || !std::ranges::all_of(name, is_part) || !looks_like_a_key(name)) continue;
    if (std::getenv(name.c_str()) == nullptr || is_given(name, given)) continue;
    if (std::ranges::find(names, name) == names.end()) names.push_back(name);
  }
  return names;
}

std::string key_hint(std::string_view output, const std::vector<std::string>& given) {
  const auto names = keys_not_given(output, given);
  if (names.empty()) return {};
  std::string listed;
  std::string options;
  for (const std::string& name : names) {
    listed += (listed.empty() ? "" : ", ") + name;
    options += " --env " + name;
  }
  return "the server ended at once and names " + listed +
         ", set here but not given to it: if it needs that, write thimble run" + options;
}

}  // namespace thimble::cli

// See argument.h.
#include "pool/image/command/argument.h"

#include <algorithm>
#include <string_view>
#include <vector>

namespace thimble::image {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kLongestShown = 255;

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

int hex_digit(char c) {
  const std::size_t at = std::string_view("0123456789abcdef").find(static_cast<char>(c | 0x20));
  return at == std::string_view::npos ? -1 : static_cast<int>(at);
}

std::string percent_decoded(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool encoded = text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 &&
                         hex_digit(text[i + 2]) >= 0;
    decoded +=
        encoded ? static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2])) : text[i];
    if (encoded) i += 2;
  }
  return decoded;
}

// "file:///srv/x?mode=ro", "file:/srv/x", "file:x.db" (SQLite has the last two).
bool is_file_url(std::string_view text) { return text.starts_with("file:"); }

Argument from_url(const Argument& whole) {
  std::size_t at = std::string_view("file:").size();
  if (whole.text.compare(at, 11, "//localhost") == 0) {
    at += 11;
  } else if (whole.text.compare(at, 2, "//") == 0) {
    at += 2;
  }
  const std::size_t end = std::min(whole.text.find_first_of("?#", at), whole.text.size());
  return {.before = whole.before + whole.text.substr(0, at),
          .text = percent_decoded(std::string_view(whole.text).substr(at, end - at)),
          .after = whole.text.substr(end),
          .written = {}};
}

struct Reading {
  Argument argument;
  bool is_value = false;  // stands after an equals sign
};

void add_value(const std::string& word, std::vector<Reading>& readings) {
  const std::size_t equals = word.find('=');
  if (equals == std::string::npos || equals == 0) return;
  const bool is_key =
      std::all_of(word.begin(), word.begin() + static_cast<std::ptrdiff_t>(equals),
                  [](char c) { return is_letter_or_digit(c) || c == '-' || c == '_' || c == '.'; });
  if (!is_key) return;
  readings.push_back({{.before = word.substr(0, equals + 1),
                       .text = word.substr(equals + 1),
                       .after = {},
                       .written = {}},
                      true});
}

// The likelier ones first.
std::vector<Reading> readings_of(const std::string& word) {
  std::vector<Reading> readings;
  const auto add = [&](std::size_t before) {
    readings.push_back({{.before = word.substr(0, before),
                         .text = word.substr(before),
                         .after = {},
                         .written = {}},
                        false});
  };
  if (word.empty()) return readings;
  if (word[0] != '-') add(0);
  if (word[0] == '@') add(1);
  add_value(word, readings);
  const bool glued = word.size() > 3 && word[0] == '-' && is_letter_or_digit(word[1]);
  if (glued && word[2] == '/') add(2);
  for (std::size_t i = 0, count = readings.size(); i < count; ++i) {
    if (is_file_url(readings[i].argument.text)) {
      readings.push_back({from_url(readings[i].argument), false});
    }
  }
  return readings;
}

// Looks like nothing else: no code, no pattern, no URL.
bool is_plainly_a_path(const std::string& text) {
  const bool rooted =
      text.starts_with("./") || text.starts_with("../") ||
      (text.starts_with('/') && text.find('/', 1) != std::string::npos && text[1] != '/');
  return rooted && text.size() <= kLongestShown && std::ranges::all_of(text, [](char c) {
           return is_letter_or_digit(c) || std::string_view("._/@+-").contains(c);
         });
}

}  // namespace

std::optional<Argument> find_path(const std::string& word, const fs::path& cwd) {
  for (Reading& reading : readings_of(word)) {
    Argument& argument = reading.argument;
    if (argument.text.empty()) continue;
    fs::path written = (cwd / argument.text).lexically_normal();
    if (!written.has_filename()) written = written.parent_path();  // a trailing slash
    std::error_code code;
    const fs::file_status status = fs::status(written, code);
    if (!fs::exists(status)) continue;
    const bool bare = argument.text.find('/') == std::string::npos && argument.text != "." &&
                      argument.text != "..";
    if (reading.is_value && bare && !fs::is_regular_file(status)) continue;
    argument.written = std::move(written);
    return std::move(argument);
  }
  return std::nullopt;
}

fs::path missing_path(const std::string& word, const fs::path& cwd) {
  for (const Reading& reading : readings_of(word)) {
    if (!is_plainly_a_path(reading.argument.text)) continue;
    return (cwd / reading.argument.text).lexically_normal();
  }
  return {};
}

}  // namespace thimble::image

// See env_command.h.
#include "pool/image/command/env_command.h"

#include <filesystem>
#include <optional>
#include <string_view>

#include "pool/image/command/words.h"

namespace thimble::image {
namespace {

bool is_env(const std::string& word) { return std::filesystem::path(word).filename() == "env"; }

// As -S splits it, but for quotes, escapes and variables.
std::optional<Words> split(std::string_view line) {
  if (line.find_first_of("'\"\\$") != std::string_view::npos) return std::nullopt;
  return split_at_blanks(line);
}

// The value of an option at `at`, glued to one of its names or in the next word; `at` is then at
// the word that ends it.
std::optional<std::string> value_of(const Words& words, std::size_t& at, std::string_view letter,
                                    std::string_view name) {
  const std::string& word = words[at];
  const std::string with_equals = std::string(name) + "=";
  if (word == letter || word == name) {
    if (at + 1 == words.size()) return std::nullopt;
    return words[++at];
  }
  if (word.starts_with(with_equals)) return word.substr(with_equals.size());
  if (word.starts_with(letter) && word.size() > letter.size() && !word.starts_with("--")) {
    return word.substr(letter.size());
  }
  return std::nullopt;
}

// Reads one env; `words` begin with it, and lose it with all that is its own.
Result<void> take_one(Words& words, Words& settings) {
  std::size_t at = 1;
  for (; at < words.size(); ++at) {
    const std::string word = words[at];
    if (word == "--") continue;
    if (word == "-i" || word == "-" || word == "--ignore-environment") {
      settings.emplace_back("-i");
    } else if (const auto line = value_of(words, at, "-S", "--split-string")) {
      const auto parts = split(*line);
      if (!parts) return fail("env -S: quotes and variables in it are not understood here");
      words.insert(words.begin() + static_cast<std::ptrdiff_t>(at) + 1, parts->begin(),
                   parts->end());
    } else if (const auto name = value_of(words, at, "-u", "--unset")) {
      settings.insert(settings.end(), {"-u", *name});
    } else if (word.starts_with('-')) {
      return fail("env " + word + ": this option of env is not understood here");
    } else if (word.find('=') != std::string::npos) {
      settings.push_back(word);
    } else {
      break;
    }
  }
  words.erase(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(at));
  return {};
}

}  // namespace

Result<Words> take_env_command(Words& words) {
  Words left = words;
  Words settings;
  while (!left.empty() && is_env(left[0])) {
    if (Result<void> taken = take_one(left, settings); !taken) {
      return std::unexpected(taken.error());
    }
  }
  if (left.empty()) return Words{};
  words = std::move(left);
  if (!settings.empty()) settings.insert(settings.begin(), "env");
  return settings;
}

}  // namespace thimble::image

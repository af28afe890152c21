// See env_words.h.
#include "tools/cli/env_words.h"

#include <cstring>
#include <optional>
#include <string_view>

namespace thimble::cli {

namespace {

// Finds K=V in the words of a command line, one word after another.
class EnvWords {
 public:
  // Where the value of this word begins; nothing when it has none.
  std::optional<size_t> value_in(std::string_view word) {
    const bool is_value = value_follows_;
    value_follows_ = word == "--env" || word == "-e";
    if (word == "--") over_ = true;
    if (over_) return std::nullopt;
    if (is_value) return after_equals(word, 0);
    constexpr std::string_view kLong = "--env=";
    if (word.starts_with(kLong)) return after_equals(word, kLong.size());
    const bool is_short = word.starts_with("-e") && word.size() > 2;
    return is_short ? after_equals(word, 2) : std::nullopt;
  }

 private:
  static std::optional<size_t> after_equals(std::string_view word, size_t from) {
    const size_t equals = word.find('=', from);
    if (equals == std::string_view::npos) return std::nullopt;
    return equals + 1;
  }

  bool value_follows_ = false;
  bool over_ = false;
};

}  // namespace

void hide_env_values(std::span<char* const> words) {
  EnvWords env;
  for (char* word : words) {
    const auto value = env.value_in(word);
    if (value) std::memset(word + *value, '*', std::strlen(word + *value));
  }
}

Arguments without_env_values(Arguments words) {
  EnvWords env;
  for (std::string& word : words) {
    if (const auto value = env.value_in(word)) word.resize(*value - 1);
  }
  return words;
}

}  // namespace thimble::cli

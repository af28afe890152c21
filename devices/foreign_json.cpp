// See foreign_json.h.
#include "devices/foreign_json.h"

namespace thimble {

namespace {

// How deep brackets are within each other, at most, wherever the text stops being JSON.
bool is_shallow(std::string_view text) {
  size_t depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxJsonDepth) return false;
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  return true;
}

}  // namespace

nlohmann::json read_foreign_json(std::string_view text, size_t max_bytes) {
  if (text.size() > max_bytes || !is_shallow(text)) {
    return nlohmann::json(nlohmann::json::value_t::discarded);
  }
  return nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
}

}  // namespace thimble

// See printable.h.
#include "devices/printable.h"

#include <algorithm>
#include <array>
#include <utility>

#include "devices/text.h"

namespace thimble {

namespace {

struct Character {
  char32_t code = 0;
  size_t length = 0;  // 0: not UTF-8
};

// What is longer than need be, a surrogate or beyond Unicode is not UTF-8.
bool is_sound(char32_t code, size_t length) {
  constexpr std::array<char32_t, 5> kLeast = {0, 0, 0x80, 0x800, 0x10000};
  return code >= kLeast[length] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
}

Character character_at(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) return {first, 1};
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc0 || first >= 0xf8 || text.size() < length) return {};
  char32_t code = first & (0xffU >> (length + 1));
  for (const char c : text.substr(1, length - 1)) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xc0U) != 0x80) return {};
    code = code << 6 | (byte & 0x3fU);
  }
  return is_sound(code, length) ? Character{code, length} : Character{};
}

// Above ASCII: controls, and what is not seen (or looks like a blank) but changes what is:
// Unicode's category Cf, its separators of lines, fillers and selectors of variants.
bool is_obeyed(char32_t code) {
  using Range = std::pair<char32_t, char32_t>;
  constexpr std::array kRanges = {
      Range{0x7f, 0x9f},       Range{0xad, 0xad},       Range{0x34f, 0x34f},
      Range{0x600, 0x605},     Range{0x61c, 0x61c},     Range{0x6dd, 0x6dd},
      Range{0x70f, 0x70f},     Range{0x890, 0x891},     Range{0x8e2, 0x8e2},
      Range{0x115f, 0x1160},   Range{0x17b4, 0x17b5},   Range{0x180b, 0x180f},
      Range{0x200b, 0x200f},   Range{0x2028, 0x202e},   Range{0x2060, 0x206f},
      Range{0x2800, 0x2800},   Range{0x3164, 0x3164},   Range{0xfe00, 0xfe0f},
      Range{0xfeff, 0xfeff},   Range{0xffa0, 0xffa0},   Range{0xfff0, 0xfffb},
      Range{0x110bd, 0x110bd}, Range{0x110cd, 0x110cd}, Range{0x13430, 0x1343f},
      Range{0x1bca0, 0x1bca3}, Range{0x1d173, 0x1d17a}, Range{0xe0000, 0xe0fff},
  };
  return std::ranges::any_of(
      kRanges, [code](const Range& one) { return code >= one.first && code <= one.second; });
}

void append_character(std::string& out, std::string_view bytes, const Character& character) {
  if (character.length == 0 || character.code < 0x20 || character.code == 0x7f) {
    out += bytes[0] == '\t' ? " " : text("\\x%02x", static_cast<unsigned char>(bytes[0]));
  } else if (is_obeyed(character.code)) {
    out += text("\\u%04x", static_cast<unsigned>(character.code));
  } else {
    out += bytes.substr(0, character.length);
  }
}

}  // namespace

std::string printable(std::string_view text_in, size_t limit) {
  std::string out;
  for (size_t at = 0; at < text_in.size();) {
    const std::string_view rest = text_in.substr(at);
    const Character character = character_at(rest);
    const size_t length = std::max<size_t>(character.length, 1);
    if (at + length > limit) return out + "…";
    append_character(out, rest, character);
    at += length;
  }
  return out;
}

}  // namespace thimble

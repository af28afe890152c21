// A list of strings as bytes: each with its length (u32) in front. Carries a command line, its
// directory and its environment in an Exec frame.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace thimble::lab {

inline void pack_string(std::string& out, std::string_view text) {
  const auto length = static_cast<uint32_t>(text.size());
  out.append(reinterpret_cast<const char*>(&length), sizeof(length));
  out.append(text);
}

// Nothing if the bytes are not such a list.
inline std::optional<std::vector<std::string>> unpack_strings(std::string_view in) {
  std::vector<std::string> list;
  while (!in.empty()) {
    uint32_t length = 0;
    if (in.size() < sizeof(length)) return std::nullopt;
    std::memcpy(&length, in.data(), sizeof(length));
    in.remove_prefix(sizeof(length));
    if (in.size() < length) return std::nullopt;
    list.emplace_back(in.substr(0, length));
    in.remove_prefix(length);
  }
  return list;
}

}  // namespace thimble::lab

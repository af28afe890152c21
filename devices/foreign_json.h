// JSON that others wrote: servers, packages, npm, files that more than this program may have
// changed. nlohmann::json reads any depth, and then calls itself once for each level when it
// writes, compares or frees what it read: 300,000 brackets end a process. So all of it is read
// here.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace thimble {

constexpr size_t kMaxJsonBytes = size_t{64} << 20;
constexpr size_t kMaxJsonDepth = 128;

// As json::parse() without exceptions: what is no JSON, longer or deeper is a discarded value,
// which is no object, array or anything else. Its strings are sound UTF-8.
nlohmann::json read_foreign_json(std::string_view text, size_t max_bytes = kMaxJsonBytes);

}  // namespace thimble

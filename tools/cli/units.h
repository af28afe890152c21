// Sizes and durations as users write them. Strict: what is not surely understood is an error that
// shows how to write it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

#include "devices/result.h"

namespace thimble::cli {

// "512M", "1G", "65536K", also in lower case and as "512MiB": bytes. A unit must be given.
Result<uint64_t> parse_size(std::string_view text);

// "500ms", "10s", "5m", "2h", "30d"; a plain number is seconds.
Result<std::chrono::milliseconds> parse_duration(std::string_view text);

// … or "never": nothing.
Result<std::optional<std::chrono::milliseconds>> parse_duration_or_never(std::string_view text);

// 536870912 -> "512M".
std::string format_size(uint64_t bytes);

}  // namespace thimble::cli

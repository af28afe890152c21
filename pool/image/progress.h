// How long work tells what it does: one plain line per step, without a newline. The caller decides
// where it goes (stderr, a log, nowhere); never stdout, which belongs to results and MCP messages.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace thimble::image {

using Progress = std::function<void(std::string_view line)>;

// 1536 -> "1.5 KiB".
std::string human_size(std::uint64_t bytes);

}  // namespace thimble::image

// Lines of ours for the user: on stderr, prefixed, one write each. Never on stdout, which belongs
// to the server.
#pragma once

#include <string_view>

namespace thimble::cli {

// "thimble: <line>\n". Waits at most a moment for a stderr that nobody reads, then drops the line.
void say(std::string_view line);

}  // namespace thimble::cli

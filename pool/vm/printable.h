// Text that a guest or a VMM process sent, made fit for a person's terminal: both may be hostile,
// and a terminal obeys escape sequences. Everything but printable ASCII becomes \xNN.
#pragma once

#include <string>
#include <string_view>

namespace thimble {

// At most `limit` bytes of `text` are shown; "…" follows when there was more.
std::string printable(std::string_view text, size_t limit = 400);

}  // namespace thimble

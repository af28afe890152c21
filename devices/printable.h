// Text that others wrote, made fit for a person's terminal and for a log of lines: guests, VMM
// processes, servers, packages, files and their names. A terminal obeys control characters, and a
// line break would begin a line that looks like one of ours.
#pragma once

#include <string>
#include <string_view>

namespace thimble {

// At most `limit` bytes of `text`, in one line; "…" follows when there was more. What a terminal
// would obey or hide becomes \xNN (bytes below 0x20, 0x7f, and what is not UTF-8) or \uNNNN (C1
// controls, line separators, marks that turn the direction of writing, characters without a shape).
// A tab becomes a space. All else of UTF-8 stays as it is; text that went through stays the same.
std::string printable(std::string_view text, size_t limit = 400);

}  // namespace thimble

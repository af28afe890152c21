// Servers that end at once often do so for want of a key, and say its name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace thimble::cli {

// Variables named in `output`, what such a server wrote to stderr, that are set here and are not
// among those `given` to it ("K=V" each). Only names like API_KEY count, and only the first few.
std::vector<std::string> keys_not_given(std::string_view output,
                                        const std::vector<std::string>& given);

// The line for the user about them; empty when there are none.
std::string key_hint(std::string_view output, const std::vector<std::string>& given);

}  // namespace thimble::cli

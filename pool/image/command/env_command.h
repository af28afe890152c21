// env(1) before a command: what it sets stays, and the command behind it is the one that counts.
#pragma once

#include <string>
#include <vector>

#include "devices/result.h"

namespace thimble::image {

// Takes "env [-i] [-u NAME] [-S WORDS] [NAME=VALUE]…" off the front of `words`, as often as it
// stands there, when a command follows: none is left empty. What comes back is to go before the
// command in a guest, and is empty when env has nothing to do. The error says what is not
// understood; then nothing is taken.
Result<std::vector<std::string>> take_env_command(std::vector<std::string>& words);

}  // namespace thimble::image

// What the user is told of a server that ended with an error before it answered anything.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace thimble::cli {

// The line about install scripts that the image of `contents` ("npm:PACKAGE@VERSION",
// docs/images.md) was made without, by its inputs.json; empty when there are none.
std::string scripts_hint(const nlohmann::json& inputs, const std::string& contents);

// Says which keys it may miss (key_hint.h), and which install scripts of its image were not run.
// For ServerRun::on_early_end; `given` is the server's environment, "K=V" each.
std::function<void(std::string_view)> explain_early_end(std::vector<std::string> given,
                                                        std::filesystem::path erofs);

}  // namespace thimble::cli

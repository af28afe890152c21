// The program that runs install scripts in a guest with node (install_scripts.h).
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace thimble::cli {

// Its exit status when no script ended well. Else stdout is a tar of the guest's root.
constexpr int kNoScriptEndedWell = 3;

// JavaScript for `node -e`. `scripts`: an object whose keys are the packages' places in the app.
std::string install_driver(const nlohmann::json& scripts);

}  // namespace thimble::cli

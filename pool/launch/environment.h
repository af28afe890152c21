// What --env and --env-file give to CMD.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "devices/result.h"

namespace thimble::launch {

// The variables of a file as --env takes them: lines "K=V", "K" (the value from here) or "K*";
// empty lines and those that begin with # are none. A value in quotes loses them, a leading
// "export " goes. Errors name a line as FILE:NUMBER, never its text.
Result<std::vector<std::string>> read_env_file(const std::filesystem::path& file);

// Whether they can be names of variables, or patterns of such: letters, digits, "_", "-" and ".",
// no digit first. The error says which one it is by its number: what has no name may be a secret.
Result<void> check_environment(const std::vector<std::string>& wanted);

// Adds what is `wanted` to `environment`: "K=V"; "K", whose value is taken from here; or a pattern
// such as "NOTION_*", which stands for all that are set here. Returns the variables that were named
// and are not set here, and patterns that nothing fits: they are left out.
Result<std::vector<std::string>> add_environment(const std::vector<std::string>& wanted,
                                                 std::map<std::string, std::string>& environment);

}  // namespace thimble::launch

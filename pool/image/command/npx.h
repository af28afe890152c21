// The command lines of npx and `npm exec`, as npm reads them.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "devices/result.h"

namespace thimble::image {

struct NpxCall {
  std::string package;                 // of -p, or the first word
  std::string command;                 // the word after -p PACKAGE; empty: the package's own
  std::vector<std::string> arguments;  // of the command
  bool local_only = false;             // --no-install: only what the project has
  bool resolve_now = false;            // --prefer-online
};

// npx: options end at the first word, and all that follows is the command's. `npm exec`: options
// may stand anywhere before the first "--", which is npm's own.
enum class NpxForm { kNpx, kNpmExec };

// `words` begins after "npx" or "exec".
Result<NpxCall> parse_npx(const std::vector<std::string>& words, NpxForm form);

// What npx runs in place of a package of the registry: the file of the command that the project
// around `cwd` has in its node_modules. Only for a name without a version. Empty: none.
std::filesystem::path local_command(const std::string& package, const std::filesystem::path& cwd);

}  // namespace thimble::image

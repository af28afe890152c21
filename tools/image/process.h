// Running the tools that images are made with (npm, mkfs.erofs, apt-get, dpkg-deb, strip): started
// by posix_spawn with stdin from /dev/null and both outputs captured, so that nothing of theirs can
// reach our stdout. Blocks until the tool ends.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "devices/result.h"

namespace thimble::image {

struct Command {
  std::vector<std::string> argv;                              // argv[0] is looked up in PATH
  std::filesystem::path cwd = {};                             // empty: the caller's
  std::vector<std::pair<std::string, std::string>> env = {};  // on top of the caller's environment
  std::vector<std::string> unset = {};                        // and these are taken from it
};

struct Output {
  int status = 0;  // exit status, or 128 + signal
  std::string out;
  std::string err;  // at most the last 256 KiB, as is `out`'s last 16 MiB
};

Result<Output> run_process(const Command& command);

// Stdout of a command that must succeed; the error says `what` was tried and ends with the last
// lines of stderr.
Result<std::string> run_checked(const Command& command, std::string_view what);

// The last `count` non-empty lines of a text, joined by "; ".
std::string last_lines(std::string_view text, std::size_t count);

// Full path of a program in PATH, or empty.
std::filesystem::path find_program(std::string_view name);

}  // namespace thimble::image

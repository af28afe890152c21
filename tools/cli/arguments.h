// Command lines: `thimble SUBCOMMAND [options] [--] CMD ARGS…`. CLI11 parses the options; CMD and
// what follows belong to the user's command and are never looked at, whatever they are.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

namespace thimble::cli {

using Arguments = std::vector<std::string>;

// Statuses of the command line itself.
constexpr int kExitUsage = 2;

struct SplitArguments {
  Arguments options;
  Arguments command;
};

// The command begins after "--", or at the first word that is neither an option of `app` nor the
// value of one.
SplitArguments split_command(const CLI::App& app, const Arguments& arguments);

// Parses options (without the program's name). A status, when the program is to end with it: help
// was printed to stdout, or one line about the mistake to stderr.
std::optional<int> parse_options(CLI::App& app, const Arguments& options);

// The line that --help shows after "Usage: ".
void set_usage(CLI::App& app, std::string usage);

// One line about a mistake in the command line of `subcommand`; the status to end with.
int usage_error(const std::string& subcommand, const std::string& message);

}  // namespace thimble::cli

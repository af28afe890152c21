// What `thimble run` was asked for.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <variant>

#include "devices/fd.h"
#include "pool/launch/server_config.h"
#include "tools/cli/options.h"

namespace thimble::cli {

struct RunOptions : launch::ServerConfig {
  std::optional<std::chrono::milliseconds> timeout;
  // Where to say that the server runs (say_ready()); -1: nowhere. Not looked at yet: a template for
  // later runs is made with the same words, and without the descriptor.
  int ready_fd = -1;
  // A socket where others ask for processes beside the server; -1: none. As little looked at.
  int exec_fd = -1;
};

// Says "\n" in a descriptor that the caller was given by --ready-fd, and closes it; -1: nothing.
void say_ready(int fd);

// A descriptor of its own of the socket that --exec-fd named; none for -1.
Fd exec_listener(int fd);

// The options, or the status to end with: help was printed, or a mistake was said.
// `declare_more` adds options of another subcommand that takes those of run, too.
std::variant<RunOptions, int> parse_run(
    const Arguments& arguments, const std::function<void(Options&)>& declare_more = nullptr);

}  // namespace thimble::cli

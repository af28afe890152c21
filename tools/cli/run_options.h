// What `thimble run` was asked for.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "devices/result.h"
#include "tools/cli/options.h"

namespace thimble::cli {

struct RunOptions {
  std::string image;
  uint64_t memory_bytes = 512ULL << 20;
  unsigned vcpus = 1;
  std::vector<std::string> env;  // "K=V", "K" or "K*" (environment.h)
  std::string workdir;
  std::string user;
  std::optional<std::chrono::milliseconds> timeout;
  // Nothing: by the kind of stdin. 0: never.
  std::optional<std::chrono::milliseconds> stdin_grace;
  std::string kernel;
  bool verbose = false;
  // Where to say that the server runs (say_ready()); -1: nowhere. Not looked at yet: a template for
  // later runs is made with the same words, and without the descriptor.
  int ready_fd = -1;
  bool require_confinement = false;
  bool no_daemon = false;     // every clone in a process of our own
  std::string from_template;  // the template to clone, instead of a CMD to boot
  bool cold = false;          // boots, whatever templates there are, and makes none
  bool in_memory = false;     // a template that is made is kept off the disk
  Arguments command;          // empty: the image's own
};

// Says "\n" in a descriptor that the caller was given by --ready-fd, and closes it; -1: nothing.
void say_ready(int fd);

// The options, or the status to end with: help was printed, or a mistake was said.
// `declare_more` adds options of another subcommand that takes those of run, too.
std::variant<RunOptions, int> parse_run(
    const Arguments& arguments, const std::function<void(Options&)>& declare_more = nullptr);

}  // namespace thimble::cli

// Runs the server of a clone: `thimble run --template NAME`, and the clones that `thimble run` uses
// by itself (auto_template.h).
#pragma once

#include <functional>
#include <string_view>

#include "devices/result.h"
#include "pool/launch/clone_order.h"
#include "tools/cli/run_options.h"

namespace thimble::cli {

// The exit status.
Result<int> run_template(const RunOptions& options);

// Of the options those count that are about a run: time limits, confinement.
struct CloneRun {
  launch::CloneOrder order;
  // Hears why this host refuses the template; then the status is kExitRefused and nothing of stdin
  // was read. Without it that is an error like others.
  std::function<void(std::string_view why)> on_refused = {};
  std::function<void()> on_started = {};
};
Result<int> run_clone(const RunOptions& options, CloneRun clone);

}  // namespace thimble::cli

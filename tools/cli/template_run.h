// Runs the server of a clone: `thimble run --template NAME`, and the clones that `thimble run` uses
// by itself (auto_template.h).
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "devices/result.h"
#include "pool/pool.h"
#include "pool/template/template.h"
#include "tools/cli/run_options.h"

namespace thimble::cli {

// The exit status. Of the options those count that are about a run: time limits, confinement.
Result<int> run_template(const RunOptions& options);

struct CloneOrder {
  TemplateId id;
  std::string version;  // of it, when it was looked at
  TemplateStore::Opened opened;
  // Frozen before exec: what to start, in place of what the template says.
  std::optional<ServerSpec> server;
  // Hears why this host refuses the template; then the status is kExitRefused and nothing of stdin
  // was read. Without it that is an error like others.
  std::function<void(std::string_view why)> on_refused;
  std::function<void()> on_started;
};
// A fault for a template that is not there or not whole, or cannot be opened just now.
FileResult<CloneOrder> order_clone(const TemplateStore& store, const std::string& name);

Result<int> run_clone(const RunOptions& options, CloneOrder order);

}  // namespace thimble::cli

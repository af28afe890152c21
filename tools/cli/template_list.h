// The verbs of `thimble template` that look at what is there: ls, inspect, rm, prune. Each gives
// the exit status.
#pragma once

#include "devices/result.h"
#include "tools/cli/options.h"

namespace thimble::cli {

Result<int> list_templates(const Arguments& arguments);
Result<int> inspect_templates(const Arguments& arguments);
Result<int> remove_templates(const Arguments& arguments);
Result<int> prune_main(const Arguments& arguments);

}  // namespace thimble::cli

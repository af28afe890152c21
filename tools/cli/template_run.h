// `thimble run --template NAME`: the server of a clone.
#pragma once

#include "devices/result.h"
#include "pool/template.h"
#include "tools/cli/run_options.h"

namespace thimble::cli {

// The templates of this user, in the cache.
Result<TemplateStore> open_templates();

// The exit status. Of the options those count that are about a run: time limits, confinement.
Result<int> run_template(const RunOptions& options);

}  // namespace thimble::cli

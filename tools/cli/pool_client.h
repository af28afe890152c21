// `thimble run` and the daemon: a clone comes from the pool when there is one.
#pragma once

#include <optional>
#include <string>

#include "devices/result.h"
#include "pool/vm/vm_process.h"
#include "tools/cli/run_options.h"

namespace thimble::cli {

// A clone of `name` in the folder of templates `store`, from this user's daemon; it runs already.
// Nothing when the caller is to start the VM itself: no daemon runs (then one is started for the
// next time), none is wanted (--no-daemon, THIMBLE_DAEMON=off), or it cannot be used, which
// --verbose tells. An error when the daemon says no: its limits are limits. With `replaceable`, a
// template that the daemon leaves alone since it keeps failing is the caller's to try: it can make
// another one.
//
// THIMBLE_DAEMON=existing uses a daemon that runs, but starts none.
Result<std::optional<VmProcess>> claim_from_daemon(const std::string& store,
                                                   const std::string& name,
                                                   const RunOptions& options, bool replaceable);

}  // namespace thimble::cli

// A clone out of the daemon's pool (docs/pool.md), for whoever is about to start one.
#pragma once

#include <optional>

#include "devices/result.h"
#include "pool/launch/server_config.h"
#include "pool/pool.h"
#include "pool/vm/vm_process.h"

namespace thimble::launch {

// A clone of `id` from this user's daemon; it runs already. Nothing when the caller is to start the
// VM itself: no daemon runs (then one is started for the next time), none is wanted (no_daemon,
// THIMBLE_DAEMON=off; existing uses one that runs, but starts none), or it cannot be used. An error
// when the daemon says no: its limits are limits. `replaceable`: a template that the daemon leaves
// alone since it keeps failing is the caller's to try, who can make another one. May wait for a
// warm VM.
Result<std::optional<VmProcess>> claim_from_daemon(const TemplateId& id, const ServerConfig& config,
                                                   bool replaceable, const Say& say);

}  // namespace thimble::launch

// An image of an npm package made of what a guest gave out after the package's install scripts had
// run in it (`thimble image build --run-scripts`). In the builder's jail, as all that looks at what
// strangers wrote: unpacked there by tar, judged by the rules that a package from the registry is.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "devices/result.h"
#include "pool/image/manifest.h"
#include "pool/image/request.h"
#include "tools/image/rootfs.h"

namespace thimble::image {

// In the root of the guest: how the scripts ended, as an object of their packages' places, 0 when
// well. It is the guest's own word, and about its own packages only.
inline constexpr const char* kScriptOutcome = ".thimble-install-scripts.json";

Result<Manifest> make_of_guest(Building& building, const std::string& package,
                               const GuestRoot& guest);

// Moves the scripts that ended well from `install_scripts` of the inputs to `scripts_run`. An error
// when none did.
Result<void> record_outcome(const std::string& outcome_text, nlohmann::json& inputs,
                            const Progress& progress);

}  // namespace thimble::image

// The turn of a VM that is about to boot (pool/start_slots.h), in the user's runtime folder.
#pragma once

#include <string>

#include "devices/result.h"
#include "pool/start_slots.h"

namespace thimble::cli {

// Waits, and says so when it takes long. `wanted`: the template whose clone would do as well, or
// empty. Where there is no place for turns, or none are wanted, everybody starts at once. Only a
// setting that is not understood is an error.
Result<StartSlot> take_boot_turn(const std::string& wanted, bool verbose);

// For a template that is made in the background; yields to starts that wait by running with a lower
// priority, too, but where they wait for this template.
Result<StartSlot> take_background_turn(const std::string& made);

}  // namespace thimble::cli

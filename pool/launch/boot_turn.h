// The turn of a VM that is about to boot (pool/start_slots.h), in the user's runtime folder.
#pragma once

#include <span>
#include <string>

#include "devices/result.h"
#include "pool/launch/server_config.h"
#include "pool/start_slots.h"

namespace thimble::launch {

// Waits, and says so when it takes long. `wanted`: the templates whose clones would do as well.
// Where there is no place for turns, or none are wanted, everybody starts at once. Only a setting
// that is not understood is an error.
Result<StartSlot> take_boot_turn(std::span<const std::string> wanted, bool verbose, const Say& say);

// For a template that is made in the background; yields to starts that wait by running with a lower
// priority, too, but where they wait for this template. `passed_on`: the turn of the start that
// began this.
Result<StartSlot> take_background_turn(const std::string& made, Fd passed_on);

}  // namespace thimble::launch

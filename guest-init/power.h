// The end of the machine. Init is PID 1: it may not return, so both of these never do.
#pragma once

#include "guest-init/bytes.h"

namespace thimble::init {

[[noreturn]] void power_off();

// One line on the console, then power off.
[[noreturn]] void die(const Failure& failure);

}  // namespace thimble::init

// One client of the agent: proves that it knows the box's token, then has one command run (or one
// port relayed). Lives in a process of its own, so that a client can harm no other.
#pragma once

#include <string>

#include "devices/fd.h"

namespace thimble::lab {

// Serves the connection to its end; never throws the box out of step whatever the client sends.
void serve(Fd connection, const std::string& token);

}  // namespace thimble::lab

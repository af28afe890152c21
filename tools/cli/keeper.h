// The keeper of a launched VM (launched.h): a process without a terminal that runs `thimble run`
// and stands between its stdin and stdout and whoever connects to the VM's socket.
//
//   client <== socket ==> keeper <== pipes ==> thimble run <==> server in its VM
//                            |  <-- stderr --------'
//                            '--> log
//
// A server on stdio knows one client at a time. Its stdin stays open when a client goes. The next
// one's turn comes when no answer is due to the one before it (client_turns.h); it waits for that a
// few seconds, and is refused then. SIGTERM ends the server, and the keeper with it.
//
// Values of --env are in neither the keeper's words, nor its environment, nor the VM's folder.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "devices/result.h"
#include "tools/cli/launched.h"

namespace thimble::cli {

// Starts the keeper. `arguments` are those of `thimble run`. Waits until the server runs; an error
// with its last lines when it does not come up.
Result<void> start_keeper(const Launched& launched, std::vector<std::string> arguments);

}  // namespace thimble::cli

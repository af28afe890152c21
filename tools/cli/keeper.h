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

#include <string>
#include <vector>

#include "devices/fd.h"
#include "devices/result.h"
#include "tools/cli/launched.h"

namespace thimble::cli {

// A keeper that was started, and a server that is coming up.
struct Launching {
  Launched launched;
  Fd ready;  // its keeper's word
};

// Starts the keeper. `arguments` are those of `thimble run`.
Result<Launching> start_keeper(Launched launched, std::vector<std::string> arguments);

// Waits until the server runs; an error when it does not come up.
Result<void> await_server(const Launching& launching);

}  // namespace thimble::cli

// The supervisor of a launched VM (launched.h): a process without a terminal that runs `thimble
// run` and stands between its stdin and stdout and whoever connects to the VM's socket.
//
//   client <== socket ==> supervisor <== pipes ==> thimble run <==> server in its VM
//                            |  <------ stderr --------'
//                            '--> log
//
// A server on stdio knows one client at a time. Its stdin stays open when a client goes. The next
// one's turn comes when no answer is due to the one before it (client_turns.h); it waits for that a
// few seconds, and is refused then. SIGTERM ends the server, and the supervisor with it.
#pragma once

#include "devices/fd.h"
#include "tools/cli/launched.h"
#include "tools/cli/own_child.h"

namespace thimble::cli {

// Until the server has ended; its exit status. `run`: a `thimble run` that was started, whose input
// does not block. `listener`: the VM's socket. `signals`: a signalfd
// of those that end it.
int supervise(const Launched& launched, OwnChild run, Fd listener, Fd signals);

}  // namespace thimble::cli

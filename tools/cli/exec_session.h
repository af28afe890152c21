// A command in a launched VM, as the process that was asked for it: bytes, signals, the size of the
// terminal, exit status. The other side is pool/guest/exec_service.h.
#pragma once

#include "devices/fd.h"
#include "devices/result.h"
#include "pool/guest/exec_wire.h"

namespace thimble::cli {

// `socket`: connected to the VM's service. `interactive`: it reads our stdin; otherwise its own is
// empty. The exit status; what went wrong was said. Signals are taken over meanwhile, and with a
// terminal that is read, ours is raw.
Result<int> run_exec(Fd socket, const ExecRequest& request, bool interactive);

}  // namespace thimble::cli

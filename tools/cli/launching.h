// A VM that is being launched: its supervisor (supervisor.h) was started, its server is coming up.
#pragma once

#include <string>
#include <vector>

#include "devices/fd.h"
#include "devices/result.h"
#include "tools/cli/launched.h"

namespace thimble::cli {

struct Launching {
  Launched launched;
  Fd ready;  // says "\n" when the server runs, or what went wrong; its end: the server's logs tell
};

// Starts the supervisor. `arguments` are those of `thimble run`.
Result<Launching> start_launching(Launched launched, const std::vector<std::string>& arguments);

// Waits until the server runs; an error when it does not come up.
Result<void> await_server(const Launching& launching);

}  // namespace thimble::cli

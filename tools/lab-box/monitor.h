// One question to QEMU's human monitor over its unix socket: used for port forwards.
#pragma once

#include <string>

#include "devices/result.h"

namespace thimble::lab {

// The monitor's answer, without echo and prompt. Gives up after five seconds of silence.
Result<std::string> ask_qemu(const std::string& socket_path, const std::string& command);

}  // namespace thimble::lab

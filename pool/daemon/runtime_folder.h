// Where the daemon's socket lies: a folder that only this user can enter, so that nobody else can
// put a socket of his own in its place.
#pragma once

#include <string>

#include "devices/result.h"

namespace thimble {

// $THIMBLE_RUNTIME, $XDG_RUNTIME_DIR/thimble, /run/user/UID/thimble, or /tmp/thimble-UID: the first
// that there is a place for. Made when it is missing; an error when it is not ours alone.
Result<std::string> runtime_folder();

// The same for a folder that is named: made when it is missing, and checked.
Result<void> make_private_folder(const std::string& path);

inline std::string daemon_socket(const std::string& folder) { return folder + "/daemon.sock"; }
inline std::string daemon_lock(const std::string& folder) { return folder + "/daemon.lock"; }
inline std::string daemon_log(const std::string& folder) { return folder + "/daemon.log"; }

}  // namespace thimble

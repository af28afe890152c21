// Where the daemon's socket lies, and what `thimble launch` keeps: a folder that only this user can
// enter, so that nobody else can put a socket of his own in its place.
#pragma once

#include <string>

#include "devices/base/owned_folder.h"

namespace thimble {

// $THIMBLE_RUNTIME, $XDG_RUNTIME_DIR/thimble, /run/user/UID/thimble, root's /run/thimble, or
// run/HOST in the cache: the first that there is a place for, and none of them in a folder where
// others could take the name first. Made when it is missing; an error when it is not ours alone.
Result<OwnedFolder> runtime_folder();

constexpr const char* kDaemonSocket = "daemon.sock";
constexpr const char* kDaemonLock = "daemon.lock";
constexpr const char* kDaemonLog = "daemon.log";

}  // namespace thimble

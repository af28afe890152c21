// AF_UNIX sockets by address, and in a folder of ours, however long its path is.
#pragma once

#include <sys/un.h>

#include <optional>
#include <string>

#include "devices/base/owned_folder.h"
#include "devices/fd.h"
#include "devices/result.h"

namespace thimble {

// Of a SOCK_… type; nonblocking, like all of these.
Result<Fd> make_unix_socket(int type);
// 0, or errno.
int connect_to(const Fd& socket, const sockaddr_un& address);
// For its owner alone; nothing may be there yet. The error is errno's text.
Result<Fd> listen_at(const sockaddr_un& address, int type, int backlog);

// In place of one that was left there: the caller knows that nobody serves it.
Result<Fd> listen_in(const OwnedFolder& folder, const std::string& name, int type, int backlog);
// Nothing where nobody listens.
Result<std::optional<Fd>> connect_in(const OwnedFolder& folder, const std::string& name, int type);

}  // namespace thimble

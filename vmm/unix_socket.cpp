// See unix_socket.h.
#include "vmm/unix_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "vmm/unix_listener.h"

namespace thimble {

Result<Fd> make_unix_socket(int type) {
  Fd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail_errno("create a socket");
  return fd;
}

// 0, or why not.
int connect_to(const Fd& socket, const sockaddr_un& address) {
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  return ::connect(socket.get(), generic, sizeof address) == 0 ? 0 : errno;
}

Result<Fd> listen_at(const sockaddr_un& address, int type, int backlog) {
  auto fd = make_unix_socket(type);
  if (!fd) return fd;
  // On Linux the socket file takes the descriptor's mode: only the owner may connect.
  ::fchmod(fd->get(), S_IRUSR | S_IWUSR);
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  if (::bind(fd->get(), generic, sizeof address) != 0 || ::listen(fd->get(), backlog) != 0) {
    return fail(error_kind(errno), std::strerror(errno));
  }
  return fd;
}

Result<Fd> listen_in(const OwnedFolder& folder, const std::string& name, int type, int backlog) {
  auto address = unix_address(folder.way_to(name));
  if (!address) return std::unexpected(address.error());
  if (auto gone = folder.remove(name); !gone) return std::unexpected(gone.error());
  auto fd = listen_at(*address, type, backlog);
  if (!fd) return fail_in("listen on " + folder.path_of(name), fd);
  return fd;
}

Result<std::optional<Fd>> connect_in(const OwnedFolder& folder, const std::string& name, int type) {
  auto address = unix_address(folder.way_to(name));
  if (!address) return std::unexpected(address.error());
  auto fd = make_unix_socket(type);
  if (!fd) return std::unexpected(fd.error());
  const int why = connect_to(*fd, *address);
  if (why == ENOENT || why == ECONNREFUSED) return std::nullopt;
  if (why != 0) return fail_errno("connect to " + folder.path_of(name), why);
  return std::move(*fd);
}

}  // namespace thimble

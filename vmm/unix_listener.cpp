// See unix_listener.h.
#include "vmm/unix_listener.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "vmm/unix_socket.h"

namespace thimble {

namespace {

constexpr int kBacklog = 64;

}  // namespace

Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return fail(ErrorKind::kInvalid, "socket path '" + path + "': must have 1 to 107 bytes");
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

Result<Fd> connect_unix(const std::string& path) {
  auto address = unix_address(path);
  if (!address) return std::unexpected(address.error());
  auto fd = make_unix_socket(SOCK_STREAM);
  if (!fd) return fd;
  if (const int why = connect_to(*fd, *address); why != 0) {
    return fail_errno("connect to " + path, why);
  }
  return fd;
}

Result<UnixListener> UnixListener::bind(const std::string& path) {
  auto address = unix_address(path);
  if (!address) return std::unexpected(address.error());
  auto client = make_unix_socket(SOCK_STREAM);
  if (!client) return std::unexpected(client.error());
  const int why = connect_to(*client, *address);
  struct stat info{};
  if (lstat(path.c_str(), &info) == 0) {
    if (!S_ISSOCK(info.st_mode)) return fail("listen on " + path + ": a file is in the way");
    // Anything else may be the moment's: too many that wait to be let in, say.
    if (why != ECONNREFUSED) return fail("listen on " + path + ": somebody else already does");
    ::unlink(path.c_str());
  }
  auto fd = listen_at(*address, SOCK_STREAM, kBacklog);
  if (!fd) return fail_in("listen on " + path, fd);
  return UnixListener(std::move(*fd), path);
}

UnixListener::~UnixListener() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

}  // namespace thimble

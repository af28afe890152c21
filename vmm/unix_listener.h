// The AF_UNIX socket that host programs reach a guest's ports by (`--vsock PATH`).
#pragma once

#include <sys/un.h>

#include <cstdint>
#include <string>
#include <utility>

#include "devices/fd.h"
#include "devices/result.h"

namespace thimble {

// A listening socket bound to `path`, only for its owner; the file goes when this object goes.
// A file left behind by a killed process is replaced; a socket that somebody serves is refused.
class UnixListener {
 public:
  static Result<UnixListener> bind(const std::string& path);
  UnixListener(UnixListener&& other) noexcept
      : fd_(std::move(other.fd_)), path_(std::exchange(other.path_, {})) {}
  UnixListener& operator=(UnixListener&&) = delete;
  UnixListener(const UnixListener&) = delete;
  ~UnixListener();

  // The listening descriptor; to be taken once.
  Fd take() { return std::move(fd_); }

 private:
  UnixListener(Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  Fd fd_;
  std::string path_;  // empty once moved from
};

// The address of the socket at `path`, or an error when it has no room for it.
Result<sockaddr_un> unix_address(const std::string& path);

// A nonblocking connection to the socket at `path`.
Result<Fd> connect_unix(const std::string& path);

}  // namespace thimble

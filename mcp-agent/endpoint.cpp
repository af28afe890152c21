// See endpoint.h.
#include "mcp-agent/endpoint.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "devices/text.h"

namespace thimble {

namespace {

IoResult result_of(ssize_t n) {
  if (n > 0) return {IoResult::Kind::kBytes, static_cast<size_t>(n)};
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return {IoResult::Kind::kWouldBlock, 0};
  return {IoResult::Kind::kEnd, 0};
}

// Only these say that the reader left.
IoResult result_of_write(ssize_t n) {
  IoResult result = result_of(n);
  if (n < 0 && result.kind == IoResult::Kind::kEnd && errno != EPIPE && errno != ECONNRESET) {
    result = {IoResult::Kind::kFailed, 0, errno};
  }
  return result;
}

mode_t file_type(int fd) {
  struct stat status{};
  return ::fstat(fd, &status) == 0 ? status.st_mode & S_IFMT : 0;
}

}  // namespace

Endpoint Endpoint::stream(Fd socket) {
  Endpoint end;
  end.kind_ = Kind::kStream;
  end.owned_ = std::move(socket);
  return end;
}

Endpoint Endpoint::user_input(int fd, bool keep) {
  Endpoint end;
  end.keep_ = keep;
  end.user_fd_ = fd;
  end.kind_ = file_type(fd) == S_IFSOCK ? Kind::kSocket : Kind::kPlain;
  return end;
}

Endpoint Endpoint::user_output(int fd, bool keep) {
  Endpoint end;
  end.user_fd_ = fd;
  end.keep_ = keep;
  end.kind_ = Kind::kPlain;
  const mode_t type = file_type(fd);
  if (type == S_IFSOCK) end.kind_ = Kind::kSocket;
  if (type != S_IFIFO && ::isatty(fd) == 0) return end;
  constexpr int kFlags = O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  end.owned_ = Fd(::open(text("/proc/self/fd/%d", fd).c_str(), kFlags));
  end.kind_ = end.owned_ ? Kind::kPrivate : Kind::kGentle;
  return end;
}

int Endpoint::poll_fd() const {
  if (kind_ == Kind::kClosed) return -1;
  return owned_ ? owned_.get() : user_fd_;
}

IoResult Endpoint::read(std::span<uint8_t> into) {
  switch (kind_) {
    case Kind::kClosed:
      return {IoResult::Kind::kEnd, 0};
    case Kind::kStream:
    case Kind::kSocket:
      return result_of(::recv(poll_fd(), into.data(), into.size(), MSG_DONTWAIT));
    default:
      return result_of(::read(poll_fd(), into.data(), into.size()));
  }
}

IoResult Endpoint::write(std::span<const uint8_t> bytes) {
  switch (kind_) {
    case Kind::kClosed:
      return {IoResult::Kind::kEnd, 0};
    case Kind::kStream:
    case Kind::kSocket:
      return result_of_write(
          ::send(poll_fd(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL));
    case Kind::kGentle:
      return result_of_write(
          ::write(poll_fd(), bytes.data(), std::min<size_t>(bytes.size(), PIPE_BUF)));
    default:
      return result_of_write(::write(poll_fd(), bytes.data(), bytes.size()));
  }
}

void Endpoint::finish() {
  if (kind_ == Kind::kStream) {
    ::shutdown(owned_.get(), SHUT_WR);
  } else {
    close();
  }
}

void Endpoint::close() {
  owned_.reset();
  if (kind_ != Kind::kClosed && user_fd_ >= 0 && !keep_) {
    const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (null) ::dup2(null.get(), user_fd_);
  }
  kind_ = Kind::kClosed;
}

}  // namespace thimble

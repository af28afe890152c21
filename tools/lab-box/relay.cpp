// Connections to the box's loopback; see relay.h.
#include "tools/lab-box/relay.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

namespace thimble::lab {
namespace {

// Moves one piece; false when that direction has ended (the end is passed on).
bool copy_once(const Fd& from, const Fd& to) {
  char buffer[64 * 1024];
  const ssize_t n = ::read(from.get(), buffer, sizeof(buffer));
  for (ssize_t done = 0; done < n;) {
    const ssize_t m = ::send(to.get(), buffer + done, static_cast<size_t>(n - done), MSG_NOSIGNAL);
    if (m <= 0) return false;
    done += m;
  }
  if (n <= 0) ::shutdown(to.get(), SHUT_WR);
  return n > 0;
}

// One direction per process: a reader who stops holds back nothing but his own direction.
[[noreturn]] void join(const Fd& outside, const Fd& inside) {
  const bool inwards = ::fork() == 0;
  const Fd& from = inwards ? outside : inside;
  const Fd& to = inwards ? inside : outside;
  while (copy_once(from, to)) {
  }
  ::_exit(0);
}

Fd connect_loopback(uint16_t port) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (!socket ||
      ::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    socket.reset();
  }
  return socket;
}

}  // namespace

Result<RelayListener> listen_for_relay() {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  ::inet_pton(AF_INET, "10.0.2.15", &address.sin_addr);
  socklen_t size = sizeof(address);
  if (!socket || ::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::listen(socket.get(), SOMAXCONN) != 0 ||
      ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return fail_errno("listen in the box");
  }
  return RelayListener{std::move(socket), ntohs(address.sin_port)};
}

void relay(Fd listener, uint16_t loopback_port) {
  ::signal(SIGCHLD, SIG_IGN);
  while (true) {
    Fd outside(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!outside || ::fork() != 0) continue;
    listener.reset();
    const Fd inside = connect_loopback(loopback_port);
    if (!inside) ::_exit(1);
    join(outside, inside);
  }
}

}  // namespace thimble::lab

#include "guest-init/transport.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

// After the C library's headers: it needs sa_family_t.
#include <linux/vm_sockets.h>

namespace thimble::init {

namespace {

// Several processes may be started at once, with three streams each.
constexpr int kBacklog = 32;

int listen_on(int family, const void* address, socklen_t size) {
  const int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  if (bind(fd, static_cast<const sockaddr*>(address), size) == 0 && listen(fd, kBacklog) == 0) {
    return fd;
  }
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

sockaddr_vm vsock_address(uint32_t cid, uint32_t port) {
  sockaddr_vm address = {};
  address.svm_family = AF_VSOCK;
  address.svm_cid = cid;
  address.svm_port = port;
  return address;
}

}  // namespace

int listen_vsock(uint32_t port) {
  const sockaddr_vm address = vsock_address(VMADDR_CID_ANY, port);
  return listen_on(AF_VSOCK, &address, sizeof address);
}

int listen_unix(const char* path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const size_t length = strlen(path);
  if (length >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  memcpy(address.sun_path, path, length + 1);
  return listen_on(AF_UNIX, &address, sizeof address);
}

int accept_host(int listener) {
  sockaddr_vm peer = {};  // smaller than a unix address, which is cut: only vsock's is looked at
  socklen_t size = sizeof peer;
  const int fd =
      accept4(listener, reinterpret_cast<sockaddr*>(&peer), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return -1;
  if (peer.svm_family == AF_VSOCK && peer.svm_cid != VMADDR_CID_HOST) {
    close(fd);
    return -1;
  }
  return fd;
}

bool announce_vsock(uint32_t port) {
  const int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const sockaddr_vm address = vsock_address(VMADDR_CID_HOST, port);
  const bool connected =
      connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  const int error = errno;
  close(fd);
  errno = error;
  return connected;
}

}  // namespace thimble::init

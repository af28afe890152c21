// Runs in guests of the kernel tests: takes one connection on a vsock port and sends back what
// comes until the other side has ended. Static, as its initramfs has no libraries.
//
//   vsock_echo PORT
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

int fail_at(const char* what) {
  perror(what);
  return 1;
}

bool write_all(int fd, const char* from, ssize_t length) {
  while (length > 0) {
    const ssize_t n = write(fd, from, static_cast<size_t>(length));
    if (n <= 0) return false;
    from += n;
    length -= n;
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const int listener = socket(AF_VSOCK, SOCK_STREAM, 0);
  if (listener < 0) return fail_at("vsock: socket");
  sockaddr_vm address = {};
  address.svm_family = AF_VSOCK;
  address.svm_cid = VMADDR_CID_ANY;
  address.svm_port = static_cast<unsigned>(atoi(argv[1]));
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    return fail_at("vsock: bind");
  }
  if (listen(listener, 1) != 0) return fail_at("vsock: listen");
  const int stream = accept(listener, nullptr, nullptr);
  if (stream < 0) return fail_at("vsock: accept");
  static char buffer[65536];
  long total = 0;
  for (;;) {
    const ssize_t n = read(stream, buffer, sizeof(buffer));
    if (n < 0) return fail_at("vsock: read");
    if (n == 0) break;
    if (!write_all(stream, buffer, n)) return fail_at("vsock: write");
    total += n;
  }
  printf("vsock: %ld bytes\n", total);
  return 0;
}

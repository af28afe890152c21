// PID 1 of the vsock figures. For each connection to port 1024 it takes one byte that says what to
// do: 'e' echoes each byte, 's' swallows everything and answers one byte at the end, 'p' pours
// 16 MiB out. The sizes are in vsock_peer.cpp too.
#include <errno.h>
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

constexpr unsigned kPort = 1024;
constexpr size_t kAmount = 16 << 20;
char g_buffer[256 << 10];

void say(const char* text) {
  if (write(STDOUT_FILENO, text, strlen(text)) < 0) _exit(1);
}

[[noreturn]] void give_up(const char* what) {
  char line[128];
  snprintf(line, sizeof line, "vsock-failed: %s: %s\n", what, strerror(errno));
  say(line);
  for (;;) pause();
}

void echo(int stream) {
  char byte = 0;
  while (read(stream, &byte, 1) == 1) {
    if (write(stream, &byte, 1) != 1) return;
  }
}

void swallow(int stream) {
  size_t left = kAmount;
  while (left > 0) {
    const ssize_t n = read(stream, g_buffer, sizeof g_buffer);
    if (n <= 0) return;
    left -= (size_t)n;
  }
  if (write(stream, "k", 1) != 1) return;
}

void pour(int stream) {
  size_t left = kAmount;
  while (left > 0) {
    const ssize_t n = write(stream, g_buffer, left < sizeof g_buffer ? left : sizeof g_buffer);
    if (n <= 0) return;
    left -= (size_t)n;
  }
}

}  // namespace

int main() {
  const int listener = socket(AF_VSOCK, SOCK_STREAM, 0);
  sockaddr_vm address{};
  address.svm_family = AF_VSOCK;
  address.svm_cid = VMADDR_CID_ANY;
  address.svm_port = kPort;
  if (listener < 0 || bind(listener, (sockaddr*)&address, sizeof address) != 0 ||
      listen(listener, 8) != 0) {
    give_up("listen");
  }
  say("vsock-listens\n");
  for (;;) {
    const int stream = accept(listener, nullptr, nullptr);
    if (stream < 0) give_up("accept");
    char what = 0;
    if (read(stream, &what, 1) == 1) {
      if (what == 'e') echo(stream);
      if (what == 's') swallow(stream);
      if (what == 'p') pour(stream);
    }
    close(stream);
  }
}

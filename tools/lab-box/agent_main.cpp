// lab-agent: PID 1 of the lab's box. Boots it (boot.h), then serves one process per client
// (session.h) on the port that QEMU forwards, and reaps what is left over. Static: it is the only
// program of the initramfs.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>

#include "devices/fd.h"
#include "devices/result.h"
#include "tools/lab-box/boot.h"
#include "tools/lab-box/protocol.h"
#include "tools/lab-box/session.h"

namespace thimble::lab {
namespace {

constexpr int kRefreshMs = 1000;

Result<Fd> listen_for_clients() {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int yes = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(kAgentPort);
  ::inet_pton(AF_INET, "10.0.2.15", &address.sin_addr);
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      ::listen(socket.get(), SOMAXCONN) != 0) {
    return fail_errno("listen for clients");
  }
  return socket;
}

Fd watch_children() {
  sigset_t child;
  ::sigemptyset(&child);
  ::sigaddset(&child, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &child, nullptr);
  return Fd(::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
}

void reap(const Fd& children) {
  signalfd_siginfo info;
  while (::read(children.get(), &info, sizeof(info)) > 0) {
  }
  while (::waitpid(-1, nullptr, WNOHANG) > 0) {
  }
}

void accept_one(const Fd& listener, const std::string& token) {
  Fd connection(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!connection) return;
  refresh_root();
  if (::fork() != 0) return;
  serve(std::move(connection), token);
  ::_exit(0);
}

Result<void> run() {
  const auto config = read_config("/lab.conf");
  if (!config) return fail(config.error().message);
  if (auto booted = boot(*config); !booted) return booted;
  const auto listener = listen_for_clients();
  if (!listener) return fail(listener.error().message);
  const Fd children = watch_children();
  std::fprintf(stderr, "lab-agent: ready\n");
  while (true) {
    pollfd waits[] = {{listener->get(), POLLIN, 0}, {children.get(), POLLIN, 0}};
    // Long-running commands are to see changes too; virtual time is not to be spent on that.
    const int ready = ::poll(waits, 2, config->virtual_time ? -1 : kRefreshMs);
    if (ready == 0) refresh_root();
    if (ready <= 0) continue;
    if (waits[0].revents != 0) accept_one(*listener, config->token);
    if (waits[1].revents != 0) reap(children);
  }
}

}  // namespace
}  // namespace thimble::lab

int main() {
  const auto result = thimble::lab::run();
  if (!result) std::fprintf(stderr, "lab-agent: failed: %s\n", result.error().message.c_str());
  ::sync();
  ::reboot(RB_POWER_OFF);
  return 1;
}

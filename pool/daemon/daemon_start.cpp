// See daemon_start.h.
#include "pool/daemon/daemon_start.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "devices/base/detached_program.h"
#include "pool/daemon/runtime_folder.h"
#include "vmm/unix_socket.h"

namespace thimble {

namespace {

constexpr int kBacklog = 1024;
constexpr int kFirstOfSystemd = 3;

int option_of(int fd, int option) {
  int value = -1;
  socklen_t size = sizeof value;
  return ::getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

// A daemon's processes have its environment in their memory: only what says where things are.
std::vector<std::string> small_environment() {
  std::vector<std::string> kept;
  for (char** one = environ; *one != nullptr; ++one) {
    const std::string_view variable(*one);
    for (const std::string_view name :
         {"HOME=", "PATH=", "XDG_RUNTIME_DIR=", "XDG_CACHE_HOME=", "THIMBLE_"}) {
      if (variable.starts_with(name)) kept.emplace_back(variable);
    }
  }
  return kept;
}

}  // namespace

Result<std::optional<DaemonPlace>> DaemonPlace::take(const OwnedFolder& folder) {
  OwnedFolder own = folder.share();
  auto lock = FileLock::take(own, kDaemonLock);
  if (!lock) return std::unexpected(lock.error());
  if (!*lock) return std::nullopt;
  // One that was killed may have left its socket: we hold the lock.
  auto listener = listen_in(own, kDaemonSocket, SOCK_SEQPACKET, kBacklog);
  if (!listener) return std::unexpected(listener.error());
  return DaemonPlace(std::move(own), std::move(**lock), std::move(*listener));
}

DaemonPlace::DaemonPlace(DaemonPlace&& other) noexcept
    : folder_(std::move(other.folder_)),
      lock_(std::exchange(other.lock_, std::nullopt)),
      listener_(std::move(other.listener_)) {}

DaemonPlace::~DaemonPlace() {
  if (lock_) [[maybe_unused]]
    auto gone = folder_.remove(kDaemonSocket);
}

Result<std::optional<Fd>> socket_of_systemd() {
  const char* pid = std::getenv("LISTEN_PID");
  const char* count = std::getenv("LISTEN_FDS");
  if (pid == nullptr || count == nullptr || std::atol(pid) != ::getpid()) return std::nullopt;
  const int sockets = std::atoi(count);
  for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) ::unsetenv(name);
  if (sockets != 1) return fail("systemd passed more or less than one socket");
  Fd socket(kFirstOfSystemd);
  if (option_of(socket.get(), SO_DOMAIN) != AF_UNIX ||
      option_of(socket.get(), SO_TYPE) != SOCK_SEQPACKET ||
      option_of(socket.get(), SO_ACCEPTCONN) != 1) {
    static_cast<void>(socket.release());
    return fail("systemd passed a socket of another kind: ListenSequentialPacket= is needed");
  }
  ::fcntl(socket.get(), F_SETFD, FD_CLOEXEC);
  ::fcntl(socket.get(), F_SETFL, ::fcntl(socket.get(), F_GETFL) | O_NONBLOCK);
  return socket;
}

Result<void> start_daemon(const OwnedFolder& folder, const std::vector<std::string>& arguments) {
  const auto log = folder.write_to(kDaemonLog, O_APPEND);
  if (!log) return std::unexpected(log.error());
  DetachedProgram daemon{.arguments = {"thimble", "daemon"},
                         .environment = small_environment(),
                         .error_output = log->get(),
                         .passed = {},
                         .in_root = true};
  daemon.arguments.insert(daemon.arguments.end(), arguments.begin(), arguments.end());
  const auto started = start_detached(daemon);
  if (!started) return fail_in("start the daemon", started);
  return {};
}

}  // namespace thimble

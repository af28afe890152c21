// See daemon_start.h.
#include "pool/daemon/daemon_start.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <utility>

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

std::vector<char*> pointers_to(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

[[noreturn]] void become_daemon(const char* program, char** arguments, char** environment,
                                int log) {
  ::setsid();
  // Once more, so that it leads no session and can never get a terminal.
  const pid_t second = ::fork();
  if (second != 0) ::_exit(second > 0 ? EXIT_SUCCESS : EXIT_FAILURE);
  const int null = ::open("/dev/null", O_RDWR);
  if (null < 0) ::_exit(EXIT_FAILURE);
  ::dup2(log, STDERR_FILENO);
  ::dup2(null, STDIN_FILENO);
  ::dup2(null, STDOUT_FILENO);
  ::close_range(STDERR_FILENO + 1, UINT_MAX, 0);
  if (::chdir("/") != 0) ::_exit(EXIT_FAILURE);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
  ::execve(program, arguments, environment);
  ::_exit(EXIT_FAILURE);
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
  std::vector<std::string> words{"thimble", "daemon"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<std::string> variables = small_environment();
  std::vector<char*> argv = pointers_to(words);
  std::vector<char*> envp = pointers_to(variables);
  const pid_t first = ::fork();
  if (first < 0) return fail_errno("start the daemon");
  if (first == 0) become_daemon("/proc/self/exe", argv.data(), envp.data(), log->get());
  int status = 0;
  while (::waitpid(first, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0) return fail("start the daemon: its process could not be made");
  return {};
}

}  // namespace thimble

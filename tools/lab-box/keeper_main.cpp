// lab-keeper: owns the processes of a warm box, QEMU and a virtiofsd per share, and ends them when
// the box is stopped (SIGTERM), idle for too long, or when its project or state folder has
// vanished. If the keeper itself is killed, all die with it.
//
//   lab-keeper STATE PROJECT IDLE_SECONDS SOCKET VIRTIOFSD… -- SOCKET VIRTIOFSD… -- QEMU…
//
// It holds an exclusive lock on STATE/alive while it lives: that, and no pid, says that a box runs.
// Every user of the box holds a shared lock on STATE/users and renews its time stamp.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "devices/fd.h"
#include "devices/result.h"

namespace thimble::lab {
namespace {

constexpr int kPollMs = 1000;
constexpr int kSocketTimeoutMs = 10'000;
constexpr int kLockTries = 200;
constexpr int kEndTimeoutMs = 3000;

struct FileServer {
  std::string socket;            // it is ready when this appears
  std::vector<char*> arguments;  // null-terminated
};

struct Box {
  std::string state;
  std::string project;
  time_t idle_limit = 0;
  std::vector<FileServer> file_servers;
  std::vector<char*> qemu;  // null-terminated
};

Result<Box> parse(std::span<char*> arguments) {
  const Error usage{"usage: lab-keeper STATE PROJECT IDLE_SECONDS {SOCKET VIRTIOFSD… --}… QEMU…"};
  if (arguments.size() < 4) return std::unexpected(usage);
  Box box{arguments[0], arguments[1], 0, {}, {}};
  const std::string_view idle = arguments[2];
  std::from_chars(idle.data(), idle.data() + idle.size(), box.idle_limit);
  auto rest = arguments.subspan(3);
  while (true) {
    const auto separator = std::find_if(
        rest.begin(), rest.end(), [](const char* text) { return std::string_view(text) == "--"; });
    if (separator == rest.end()) break;
    if (separator - rest.begin() < 2) return std::unexpected(usage);
    FileServer server{rest[0], {rest.begin() + 1, separator}};
    server.arguments.push_back(nullptr);
    box.file_servers.push_back(std::move(server));
    rest = rest.subspan(static_cast<size_t>(separator - rest.begin()) + 1);
  }
  box.qemu.assign(rest.begin(), rest.end());
  box.qemu.push_back(nullptr);
  return box;
}

Result<Fd> lock(const std::string& path, int how) {
  Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file || ::flock(file.get(), how | LOCK_NB) != 0) return fail_errno("lock " + path);
  return file;
}

Result<pid_t> spawn(const std::vector<char*>& arguments) {
  const pid_t keeper = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno("start a process");
  if (pid > 0) return pid;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != keeper) ::_exit(1);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execvp(arguments[0], arguments.data());
  std::fprintf(stderr, "start %s: %s\n", arguments[0], std::strerror(errno));
  ::_exit(127);
}

bool same_folder(const std::string& path, const struct stat& known) {
  struct stat now{};
  return ::stat(path.c_str(), &now) == 0 && now.st_ino == known.st_ino &&
         now.st_dev == known.st_dev;
}

Result<void> await_socket(const std::string& path) {
  for (int waited = 0; waited < kSocketTimeoutMs; waited += 10) {
    if (::access(path.c_str(), F_OK) == 0) return {};
    ::usleep(10'000);
  }
  return fail("virtiofsd did not come up: see virtiofsd's lines in keeper.log");
}

class Keeper {
 public:
  explicit Keeper(Box box) : box_(std::move(box)) {}

  Result<void> run() {
    auto alive = lock(box_.state + "/alive", LOCK_EX);
    // Whoever asks whether the box is alive holds the lock for a moment.
    for (int tries = 0; !alive && tries < kLockTries; ++tries) {
      ::usleep(10'000);
      alive = lock(box_.state + "/alive", LOCK_EX);
    }
    if (!alive) return fail(alive.error().message);
    Fd signals = watch_signals();
    ::stat(box_.state.c_str(), &state_folder_);
    ::stat(box_.project.c_str(), &project_folder_);
    std::ofstream(box_.state + "/pid") << ::getpid() << '\n';
    const auto started = start();
    if (started) std::fprintf(stderr, "lab-keeper: box ended: %s\n", watch(signals).c_str());
    ::unlink((box_.state + "/port").c_str());  // first of all: nobody is to connect any more
    end();
    for (const char* name : {"/pid", "/stamp", "/token", "/monitor", "/initrd"}) {
      ::unlink((box_.state + name).c_str());
    }
    for (const auto& server : box_.file_servers) ::unlink(server.socket.c_str());
    return started;
  }

 private:
  static Fd watch_signals() {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) ::sigaddset(&set, signal);
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    return Fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  }

  Result<void> start() {
    for (const auto& server : box_.file_servers) {
      auto pid = spawn(server.arguments);
      if (!pid) return fail(pid.error().message);
      children_.push_back(*pid);
      if (auto ready = await_socket(server.socket); !ready) return ready;
    }
    auto machine = spawn(box_.qemu);
    if (!machine) return fail(machine.error().message);
    children_.push_back(*machine);
    return {};
  }

  // Returns why the box has to end.
  std::string watch(const Fd& signals) {
    while (true) {
      pollfd wait{signals.get(), POLLIN, 0};
      ::poll(&wait, 1, kPollMs);
      signalfd_siginfo info;
      while (::read(signals.get(), &info, sizeof(info)) > 0) {
        if (info.ssi_signo != SIGCHLD) return "stopped";
      }
      if (reap() > 0) return "one of its processes has ended";
      if (!same_folder(box_.state, state_folder_)) return "its state folder has vanished";
      if (!same_folder(box_.project, project_folder_)) return "its project folder has vanished";
      if (idle()) return "idle";
    }
  }

  // When true, the users' lock is held: nobody can begin to use the box while it ends.
  bool idle() {
    struct stat users{};
    if (::stat((box_.state + "/users").c_str(), &users) != 0) return false;
    if (std::time(nullptr) - std::max(users.st_mtime, busy_) < box_.idle_limit) return false;
    auto exclusive = lock(box_.state + "/users", LOCK_EX);
    if (!exclusive) {
      busy_ = std::time(nullptr);
      return false;
    }
    idle_lock_ = std::move(*exclusive);
    return true;
  }

  // Forgets children that have ended; how many those were.
  size_t reap() {
    return std::erase_if(children_,
                         [](pid_t pid) { return ::waitpid(pid, nullptr, WNOHANG) == pid; });
  }

  void signal_all(int number) const {
    for (const pid_t pid : children_) ::kill(pid, number);
  }

  void end() {
    signal_all(SIGTERM);
    for (int waited = 0; waited < kEndTimeoutMs && !children_.empty(); waited += 10) {
      ::usleep(10'000);
      reap();
    }
    signal_all(SIGKILL);
  }

  Box box_;
  std::vector<pid_t> children_;
  struct stat state_folder_{};
  struct stat project_folder_{};
  time_t busy_ = 0;
  Fd idle_lock_;
};

}  // namespace
}  // namespace thimble::lab

int main(int argc, char** argv) {
  using thimble::lab::Keeper;
  const std::span<char*> arguments(argv, static_cast<size_t>(argc));
  auto box = thimble::lab::parse(arguments.subspan(1));
  const auto result = box ? Keeper(std::move(*box)).run() : thimble::fail(box.error().message);
  if (result) return 0;
  std::fprintf(stderr, "lab-keeper: %s\n", result.error().message.c_str());
  return 1;
}

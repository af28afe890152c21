// lab-keeper: owns the two processes of a warm box, virtiofsd and QEMU, and ends them when the box
// is stopped (SIGTERM), idle for too long, or when its project or state folder has vanished.
// If the keeper itself is killed, both die with it.
//
//   lab-keeper STATE PROJECT IDLE_SECONDS SOCKET VIRTIOFSD… -- QEMU…
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
constexpr int kEndTimeoutMs = 3000;

struct Box {
  std::string state;
  std::string project;
  time_t idle_limit = 0;
  std::string socket;
  std::vector<char*> virtiofsd;  // null-terminated
  std::vector<char*> qemu;
};

Result<Box> parse(std::span<char*> arguments) {
  const auto separator = std::find_if(arguments.begin(), arguments.end(), [](const char* text) {
    return std::string_view(text) == "--";
  });
  if (arguments.size() < 5 || separator == arguments.end()) {
    return fail("usage: lab-keeper STATE PROJECT IDLE_SECONDS SOCKET VIRTIOFSD… -- QEMU…");
  }
  Box box{arguments[0], arguments[1], 0, arguments[3], {}, {}};
  const std::string_view idle = arguments[2];
  std::from_chars(idle.data(), idle.data() + idle.size(), box.idle_limit);
  box.virtiofsd.assign(arguments.begin() + 4, separator);
  box.virtiofsd.push_back(nullptr);
  box.qemu.assign(separator + 1, arguments.end());
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
    if (!alive) return fail(alive.error().message);
    Fd signals = watch_signals();
    ::stat(box_.state.c_str(), &state_folder_);
    ::stat(box_.project.c_str(), &project_folder_);
    std::ofstream(box_.state + "/pid") << ::getpid() << '\n';
    const auto started = start();
    if (started) std::fprintf(stderr, "lab-keeper: box ended: %s\n", watch(signals).c_str());
    end();
    for (const char* name : {"/pid", "/stamp", "/port", "/token", "/monitor", "/initrd"}) {
      ::unlink((box_.state + name).c_str());
    }
    ::unlink(box_.socket.c_str());
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
    auto files = spawn(box_.virtiofsd);
    if (!files) return fail(files.error().message);
    virtiofsd_ = *files;
    if (auto ready = await_socket(box_.socket); !ready) return ready;
    auto machine = spawn(box_.qemu);
    if (!machine) return fail(machine.error().message);
    qemu_ = *machine;
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
      if (has_ended(qemu_)) return "QEMU has ended";
      if (has_ended(virtiofsd_)) return "virtiofsd has ended";
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

  static bool has_ended(pid_t& pid) {
    if (pid <= 0 || ::waitpid(pid, nullptr, WNOHANG) != pid) return pid <= 0;
    pid = -1;
    return true;
  }

  void end() {
    for (const pid_t pid : {qemu_, virtiofsd_}) {
      if (pid > 0) ::kill(pid, SIGTERM);
    }
    for (int waited = 0; waited < kEndTimeoutMs; waited += 10) {
      const bool ended = has_ended(qemu_);
      if (has_ended(virtiofsd_) && ended) return;
      ::usleep(10'000);
    }
    for (const pid_t pid : {qemu_, virtiofsd_}) {
      if (pid > 0) ::kill(pid, SIGKILL);
    }
  }

  Box box_;
  pid_t virtiofsd_ = -1;
  pid_t qemu_ = -1;
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

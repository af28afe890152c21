// See keeper.h.
#include "tools/cli/keeper.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <csignal>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "devices/text.h"
#include "vmm/unix_socket.h"

namespace thimble::cli {

namespace {

constexpr size_t kChunk = 65536;
constexpr off_t kMaxLog = off_t{1} << 20;  // and as much in log.1
// What `thimble run --verbose` says when the server has been started.
constexpr std::string_view kRuns = "thimble: the server runs after";
constexpr int kStopPatienceMs = 15'000;

struct Pipe {
  Fd read;
  Fd write;
};

Result<Pipe> make_pipe() {
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno("make a pipe");
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

Result<Fd> listen_for_client(const Launched& launched) {
  const auto folder = launched.folder();
  if (!folder) return std::unexpected(folder.error());
  return listen_in(*folder, "socket", SOCK_STREAM, 8);
}

// All of it, or false: the other end is gone.
bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      pollfd writable{fd, POLLOUT, 0};
      ::poll(&writable, 1, -1);
      continue;
    }
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

class Log {
 public:
  explicit Log(const Launched& launched) : launched_(launched) { open(); }

  void write(std::string_view bytes) {
    struct stat info{};
    if (::fstat(file_.get(), &info) == 0 && info.st_size > kMaxLog) {
      ::rename(launched_.path("log").c_str(), launched_.path("log.1").c_str());
      open();
    }
    // A full disk costs lines, not the server.
    [[maybe_unused]] const bool written = write_all(file_.get(), bytes);
  }

 private:
  void open() {
    const auto folder = launched_.folder();
    auto file = folder ? folder->write_to("log", O_APPEND) : FileResult<Fd>();
    file_ = file ? std::move(*file) : Fd();
  }
  const Launched& launched_;
  Fd file_;
};

struct Child {
  pid_t pid = -1;
  Fd input;
  Fd output;
  Fd errors;
};

Result<Child> start_run(std::vector<std::string> arguments) {
  auto input = make_pipe();
  auto output = make_pipe();
  auto errors = make_pipe();
  if (!input || !output || !errors) return fail("start the server: no more pipes");
  arguments.insert(arguments.begin(), {"thimble", "run", "--verbose"});
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (std::string& word : arguments) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t keeper = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno("start a process");
  if (pid == 0) {
    // A server that nobody can reach or stop any more is of no use to anybody.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != keeper) ::_exit(127);
    ::dup2(input->read.get(), STDIN_FILENO);
    ::dup2(output->write.get(), STDOUT_FILENO);
    ::dup2(errors->write.get(), STDERR_FILENO);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGPIPE, SIG_DFL);
    ::execv("/proc/self/exe", argv.data());
    ::_exit(127);
  }
  ::fcntl(input->write.get(), F_SETFL, O_NONBLOCK);
  return Child{pid, std::move(input->write), std::move(output->read), std::move(errors->read)};
}

class Keeper {
 public:
  Keeper(const Launched& launched, Child child, Fd listener, Fd signals, Fd ready)
      : log_(launched),
        child_(std::move(child)),
        listener_(std::move(listener)),
        signals_(std::move(signals)),
        ready_(std::move(ready)) {}

  // Until the server has ended; its exit status.
  int serve() {
    while (child_.output || child_.errors) {
      std::array<pollfd, 6> set = entries();
      const int got = ::poll(set.data(), set.size(), stopping_ ? kStopPatienceMs : -1);
      if (got == 0) ::kill(child_.pid, SIGKILL);
      if (got <= 0) continue;
      if (set[0].revents != 0) on_signal();
      if (set[1].revents != 0) from_errors();
      if (set[2].revents != 0) from_output();
      if (set[3].revents != 0) drain(child_.input, to_server_);
      if (set[4].revents != 0) on_client(set[4].revents);
      if (set[5].revents != 0) accept();
    }
    int status = 0;
    while (::waitpid(child_.pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  // Whoever writes waits until the other side has taken what came before; nobody else waits.
  [[nodiscard]] std::array<pollfd, 6> entries() const {
    const bool listens = !client_ || client_has_ended_;
    const bool reads_client = to_server_.empty() && child_.input && !client_has_ended_;
    const auto client_events =
        static_cast<short>((reads_client ? POLLIN : 0) | (to_client_.empty() ? 0 : POLLOUT));
    return {{{signals_.get(), POLLIN, 0},
             {child_.errors.get(), POLLIN, 0},
             {to_client_.empty() ? child_.output.get() : -1, POLLIN, 0},
             {to_server_.empty() ? -1 : child_.input.get(), POLLOUT, 0},
             // A client that hangs up with words of its own unread is heard to the end.
             {client_events != 0 || client_has_ended_ ? client_.get() : -1, client_events, 0},
             {listens ? listener_.get() : -1, POLLIN, 0}}};
  }

  // Empty at the end.
  static std::string read_from(int fd) {
    std::string bytes(kChunk, 0);
    const ssize_t n = ::read(fd, bytes.data(), bytes.size());
    bytes.resize(n > 0 ? static_cast<size_t>(n) : 0);
    return bytes;
  }

  // Writes what `sink` takes; a sink that is gone is closed.
  static void drain(Fd& sink, std::string& bytes) {
    if (!sink) return bytes.clear();
    const ssize_t n = ::write(sink.get(), bytes.data(), bytes.size());
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n >= 0) {
      bytes.erase(0, static_cast<size_t>(n));
      return;
    }
    sink.reset();
    bytes.clear();
  }

  void on_signal() {
    signalfd_siginfo info{};
    if (::read(signals_.get(), &info, sizeof info) != sizeof info) return;
    stopping_ = true;
    ::kill(child_.pid, SIGTERM);
    child_.input.reset();
    to_server_.clear();
  }

  void from_errors() {
    const std::string bytes = read_from(child_.errors.get());
    if (bytes.empty()) return child_.errors.reset();
    log_.write(bytes);
    if (!ready_) return;
    heard_ += bytes;
    if (heard_.find(kRuns) == std::string::npos) {
      if (heard_.size() > kChunk) heard_.erase(0, heard_.size() - kRuns.size());
      return;
    }
    (void)!::write(ready_.get(), "r", 1);
    ready_.reset();
  }

  void from_output() {
    std::string bytes = read_from(child_.output.get());
    if (bytes.empty()) return child_.output.reset();
    if (!client_) return;
    to_client_ = std::move(bytes);
    drain(client_, to_client_);
  }

  // One that has said all still gets its answers, until it hangs up or another one comes.
  void on_client(short events) {
    if ((events & POLLOUT) != 0) drain(client_, to_client_);
    if ((events & POLLIN) != 0 && client_) {
      to_server_ = read_from(client_.get());
      client_has_ended_ = to_server_.empty();
      if (!to_server_.empty()) in_a_line_ = to_server_.back() != '\n';
      if (!to_server_.empty()) drain(child_.input, to_server_);
    } else if ((events & (POLLHUP | POLLERR)) != 0) {
      client_.reset();
    }
    if (!client_ || client_has_ended_) end_line();
    if (!client_) to_client_.clear();
  }

  // What a client left unfinished is not the beginning of the next one's message.
  void end_line() {
    if (!std::exchange(in_a_line_, false)) return;
    to_server_ += '\n';
    drain(child_.input, to_server_);
  }

  void accept() {
    Fd next(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!next) return;
    client_ = std::move(next);
    client_has_ended_ = false;
    to_client_.clear();
  }

  Log log_;
  Child child_;
  Fd listener_;
  Fd signals_;
  Fd ready_;  // whoever launched waits at its other end
  Fd client_;
  std::string to_server_;  // that it has not taken yet
  std::string to_client_;
  std::string heard_;
  bool client_has_ended_ = false;
  bool in_a_line_ = false;
  bool stopping_ = false;
};

// In the keeper's process. What cannot be told any other way goes to `ready`.
int keep(const Launched& launched, std::vector<std::string> arguments, Fd ready) {
  const auto tell = [&ready](const Error& error) {
    (void)!::write(ready.get(), error.message.data(), error.message.size());
    return EXIT_FAILURE;
  };
  auto lock = launched.lock();
  if (!lock) return tell(lock.error());
  nlohmann::json facts = {{"arguments", arguments}, {"started", ::time(nullptr)}};
  if (auto written = launched.write_facts(facts); !written) return tell(written.error());
  sigset_t ending;
  sigemptyset(&ending);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&ending, signal);
  ::sigprocmask(SIG_BLOCK, &ending, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  Fd signals(::signalfd(-1, &ending, SFD_CLOEXEC));
  auto listener = listen_for_client(launched);
  if (!listener) return tell(listener.error());
  auto child = start_run(std::move(arguments));
  if (!child) return tell(child.error());
  Keeper keeper(launched, std::move(*child), std::move(*listener), std::move(signals),
                std::move(ready));
  const int status = keeper.serve();
  ::unlink(launched.path("socket").c_str());
  facts["ended"] = ::time(nullptr);
  facts["exit_status"] = status;
  return launched.write_facts(facts) ? EXIT_SUCCESS : EXIT_FAILURE;
}

[[noreturn]] void become_keeper(const Launched& launched, std::vector<std::string> arguments,
                                Fd ready) {
  ::setsid();
  const pid_t second = ::fork();
  if (second != 0) ::_exit(second > 0 ? EXIT_SUCCESS : EXIT_FAILURE);
  const int null = ::open("/dev/null", O_RDWR);
  if (null < 0) ::_exit(EXIT_FAILURE);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null, fd);
  ::dup2(ready.get(), STDERR_FILENO + 1);
  if (ready.get() != STDERR_FILENO + 1) ready = Fd(STDERR_FILENO + 1);
  ::fcntl(ready.get(), F_SETFD, FD_CLOEXEC);
  ::close_range(static_cast<unsigned>(STDERR_FILENO) + 2, UINT_MAX, 0);
  ::_exit(keep(launched, std::move(arguments), std::move(ready)));
}

}  // namespace

Result<void> start_keeper(const Launched& launched, std::vector<std::string> arguments) {
  auto ready = make_pipe();
  if (!ready) return std::unexpected(ready.error());
  const pid_t first = ::fork();
  if (first < 0) return fail_errno("start a process");
  if (first == 0) become_keeper(launched, std::move(arguments), std::move(ready->write));
  ready->write.reset();
  while (::waitpid(first, nullptr, 0) < 0 && errno == EINTR) {
  }
  std::string said(4096, 0);
  ssize_t n = 0;
  while ((n = ::read(ready->read.get(), said.data(), said.size())) < 0 && errno == EINTR) {
  }
  if (n == 1 && said[0] == 'r') return {};
  said.resize(n > 0 ? static_cast<size_t>(n) : 0);
  if (!said.empty()) return fail(said);
  return fail("the server of " + launched.name() + " did not come up: `thimble logs " +
              launched.name() + "` has its words");
}

}  // namespace thimble::cli

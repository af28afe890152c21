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

#include <algorithm>
#include <array>
#include <chrono>
#include <climits>
#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "devices/text.h"
#include "tools/cli/client_turns.h"
#include "tools/cli/env_words.h"
#include "tools/cli/keeper_log.h"
#include "vmm/unix_socket.h"

namespace thimble::cli {

namespace {

constexpr size_t kChunk = 65536;
// What `thimble run --verbose` says when the server has been started, at the beginning of a line:
// no other line there begins with "thimble: " (mcp-agent/server_lines.h).
constexpr std::string_view kRuns = "\nthimble: the server runs after";
constexpr int kStopPatienceMs = 15'000;
// How long a client waits for the answers that are due to the one before it.
constexpr std::chrono::seconds kTurnPatience{10};
// Such as a client of JSON-RPC shows its user.
constexpr std::string_view kRefusal =
    R"({"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"thimble: the server still owes )"
    R"(an answer to a client that has left: try again later, or launch it anew"}})"
    "\n";

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

// The next server's values are not to be read in the environment of a process that lives on.
void forget_environment() {
  for (char** one = environ; *one != nullptr; ++one) std::memset(*one, 0, std::strlen(*one));
}

// The log's file, made when it is not there; none where that fails.
Fd open_log(const Launched& launched) {
  const auto folder = launched.folder();
  auto file = folder ? folder->write_to("log", O_APPEND) : FileResult<Fd>();
  return file ? std::move(*file) : Fd();
}

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
    for (const int signal : {SIGPIPE, SIGXFSZ}) ::signal(signal, SIG_DFL);
    ::execv("/proc/self/exe", argv.data());
    ::_exit(127);
  }
  ::fcntl(input->write.get(), F_SETFL, O_NONBLOCK);
  return Child{pid, std::move(input->write), std::move(output->read), std::move(errors->read)};
}

class Keeper {
 public:
  Keeper(const Launched& launched, Child child, Fd listener, Fd signals, Fd ready)
      : log_(launched.path("log"), [&launched] { return open_log(launched); }),
        child_(std::move(child)),
        listener_(std::move(listener)),
        signals_(std::move(signals)),
        ready_(std::move(ready)) {}

  // Until the server has ended; its exit status.
  int serve() {
    while (child_.output || child_.errors) {
      std::array<pollfd, 6> set = entries();
      const int got = ::poll(set.data(), set.size(), timeout());
      if (got == 0 && stopping_) ::kill(child_.pid, SIGKILL);
      if (got > 0) {
        if (set[0].revents != 0) on_signal();
        if (set[1].revents != 0) from_errors();
        if (set[2].revents != 0) from_output();
        if (set[3].revents != 0) drain(child_.input, to_server_);
        if (set[4].revents != 0) on_client(set[4].revents);
        if (set[5].revents != 0) accept();
      }
      take_turn();
    }
    int status = 0;
    while (::waitpid(child_.pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  using Clock = std::chrono::steady_clock;

  // Whoever writes waits until the other side has taken what came before; nobody else waits.
  [[nodiscard]] std::array<pollfd, 6> entries() const {
    const bool listens = !next_ && (!client_ || client_has_ended_);
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

  [[nodiscard]] int timeout() const {
    if (stopping_) return kStopPatienceMs;
    if (!next_) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next_until_ - Clock::now());
    return static_cast<int>(std::max<long long>(left.count(), 0));
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
    const std::string bytes = read_from(child_.output.get());
    if (bytes.empty()) return child_.output.reset();
    std::string passed = turns_.from_server(bytes);
    tell_too_long("server");
    if (!client_ || passed.empty()) return;
    to_client_ = std::move(passed);
    drain(client_, to_client_);
    if (!client_) on_gone();
  }

  // One that has said all still gets its answers, until it hangs up or another one's turn comes.
  void on_client(short events) {
    if ((events & POLLOUT) != 0) drain(client_, to_client_);
    if ((events & POLLIN) != 0 && client_) {
      const std::string bytes = read_from(client_.get());
      if (!bytes.empty()) {
        pass_to_server(turns_.from_client(bytes));
        tell_too_long("client");
      } else if ((events & POLLHUP) != 0) {
        client_.reset();
      } else {
        client_has_ended_ = true;
        pass_to_server(turns_.end_input());
      }
    } else if ((events & (POLLHUP | POLLERR)) != 0) {
      client_.reset();
    }
    if (!client_) on_gone();
  }

  void on_gone() {
    to_client_.clear();
    pass_to_server(turns_.leave());
  }

  void pass_to_server(const std::string& bytes) {
    to_server_ += bytes;
    if (!to_server_.empty()) drain(child_.input, to_server_);
  }

  void tell_too_long(const char* whose) {
    if (turns_.too_long())
      log_.write(text("thimble: a line of the %s was dropped: too long\n", whose));
  }

  void accept() {
    Fd next(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!next) return;
    next_ = std::move(next);
    next_until_ = Clock::now() + kTurnPatience;
  }

  // Of the client that waits: its turn comes, or it is refused.
  void take_turn() {
    if (!next_) return;
    const bool busy = client_ && (!client_has_ended_ || !to_client_.empty());
    if (!busy && !turns_.owes()) {
      if (client_) on_gone();
      client_ = std::move(next_);
      client_has_ended_ = false;
      return turns_.begin();
    }
    if (Clock::now() < next_until_) return;
    log_.write("thimble: a client was refused: an answer is still due to one before it\n");
    (void)!::send(next_.get(), kRefusal.data(), kRefusal.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    next_.reset();
  }

  KeeperLog log_;
  Child child_;
  Fd listener_;
  Fd signals_;
  Fd ready_;  // whoever launched waits at its other end
  Fd client_;
  Fd next_;  // whose turn has not come
  Clock::time_point next_until_;
  ClientTurns turns_;
  std::string to_server_;  // that it has not taken yet
  std::string to_client_;
  std::string heard_ = "\n";
  bool client_has_ended_ = false;
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
  nlohmann::json facts = {{"arguments", without_env_values(arguments)},
                          {"started", ::time(nullptr)}};
  if (auto written = launched.write_facts(facts); !written) return tell(written.error());
  sigset_t ending;
  sigemptyset(&ending);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&ending, signal);
  ::sigprocmask(SIG_BLOCK, &ending, nullptr);
  for (const int signal : {SIGPIPE, SIGXFSZ}) ::signal(signal, SIG_IGN);
  Fd signals(::signalfd(-1, &ending, SFD_CLOEXEC));
  auto listener = listen_for_client(launched);
  if (!listener) return tell(listener.error());
  auto child = start_run(std::move(arguments));
  if (!child) return tell(child.error());
  forget_environment();
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

Result<Launching> start_keeper(Launched launched, std::vector<std::string> arguments) {
  auto ready = make_pipe();
  if (!ready) return std::unexpected(ready.error());
  const pid_t first = ::fork();
  if (first < 0) return fail_errno("start a process");
  if (first == 0) become_keeper(launched, std::move(arguments), std::move(ready->write));
  ready->write.reset();
  while (::waitpid(first, nullptr, 0) < 0 && errno == EINTR) {
  }
  return Launching{std::move(launched), std::move(ready->read)};
}

Result<void> await_server(const Launching& launching) {
  const auto& [launched, ready] = launching;
  std::string said(4096, 0);
  ssize_t n = 0;
  while ((n = ::read(ready.get(), said.data(), said.size())) < 0 && errno == EINTR) {
  }
  if (n == 1 && said[0] == 'r') return {};
  said.resize(n > 0 ? static_cast<size_t>(n) : 0);
  if (!said.empty()) return fail(said);
  return fail("the server of " + launched.name() + " did not come up: `thimble logs " +
              launched.name() + "` has its words");
}

}  // namespace thimble::cli

// See supervisor.h.
#include "tools/cli/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <string>
#include <utility>

#include "devices/text.h"
#include "tools/cli/client_turns.h"
#include "tools/cli/launch_log.h"

namespace thimble::cli {

namespace {

constexpr size_t kChunk = 65536;
constexpr int kStopTimeoutMs = 15'000;
// How long a client waits for the answers that are due to the one before it.
constexpr std::chrono::seconds kTurnTimeout{10};
// Such as a client of JSON-RPC shows its user.
constexpr std::string_view kRefusal =
    R"({"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"thimble: the server still owes )"
    R"(an answer to a client that has left: try again later, or launch it anew"}})"
    "\n";

// The log's file, made when it is not there; none where that fails.
Fd open_log(const Launched& launched) {
  const auto folder = launched.folder();
  auto file = folder ? folder->write_to("log", O_APPEND) : FileResult<Fd>();
  return file ? std::move(*file) : Fd();
}

class Supervisor {
 public:
  Supervisor(const Launched& launched, OwnChild child, Fd listener, Fd signals)
      : log_(launched.path("log"), [&launched] { return open_log(launched); }),
        child_(std::move(child)),
        listener_(std::move(listener)),
        signals_(std::move(signals)) {}

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
    if (stopping_) return kStopTimeoutMs;
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
    next_until_ = Clock::now() + kTurnTimeout;
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

  LaunchLog log_;
  OwnChild child_;
  Fd listener_;
  Fd signals_;
  Fd client_;
  Fd next_;  // whose turn has not come
  Clock::time_point next_until_;
  ClientTurns turns_;
  std::string to_server_;  // that it has not taken yet
  std::string to_client_;
  bool client_has_ended_ = false;
  bool stopping_ = false;
};

}  // namespace

int supervise(const Launched& launched, OwnChild run, Fd listener, Fd signals) {
  return Supervisor(launched, std::move(run), std::move(listener), std::move(signals)).serve();
}

}  // namespace thimble::cli

// See exec_session.h.
#include "tools/cli/exec_session.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "mcp-agent/byte_flow.h"
#include "mcp-agent/server_run.h"
#include "mcp-agent/signals.h"
#include "mcp-agent/start_failure.h"
#include "tools/cli/say.h"
#include "tools/cli/terminal.h"
#include "tools/cli/terminal_size.h"

namespace thimble::cli {

namespace {

class ExecSession {
 public:
  ExecSession(Fd socket, SignalSource signals, const ExecRequest& request, bool interactive)
      : socket_(std::move(socket)),
        signals_(std::move(signals)),
        request_(request),
        interactive_(interactive) {}

  int loop() {
    // One that has closed already says why before that.
    if (!send_exec(socket_.get(), exec_words(request_)) && errno == EMSGSIZE) {
      finish(kExitFailure, "the command and its environment are too long");
    }
    while (!is_over()) poll_once();
    terminal_.reset();
    if (leaves_line()) end_line();
    tell_output_error();
    if (!line_.empty()) say(line_);
    return *status_;
  }

 private:
  // Its end is known, and what it wrote is out.
  [[nodiscard]] bool is_over() const {
    return status_ && std::ranges::all_of(outputs_, [](const ByteFlow& one) { return one.done(); });
  }

  // Whether CMD has left a line unfinished on our stderr, where ours go.
  bool leaves_line() { return outputs_.size() > 1 && outputs_[1].leave_line(); }

  // CMD may have ended well, not knowing that its words were lost; or with SIGPIPE for that.
  void tell_output_error() {
    if (outputs_.empty() || outputs_[0].error() == 0) return;
    say(std::string("stdout: ") + std::strerror(outputs_[0].error()) +
        ": what CMD wrote from there on is lost");
    if (*status_ == 0 || *status_ == kExitSignalBase + SIGPIPE) status_ = kExitOutput;
  }

  void poll_once() {
    std::vector<pollfd> set{{socket_.get(), POLLIN, 0}, {signals_.poll_fd(), POLLIN, 0}};
    const auto add = [&set](const ByteFlow& flow) {
      set.push_back(flow.source_entry());
      set.push_back(flow.sink_entry());
    };
    if (input_) add(*input_);
    std::ranges::for_each(outputs_, add);
    if (::poll(set.data(), set.size(), -1) < 0) return;
    size_t at = 2;
    const auto serve = [&](ByteFlow& flow) {
      flow.serve(set[at].revents, set[at + 1].revents);
      at += 2;
    };
    if (input_) serve(*input_);
    std::ranges::for_each(outputs_, serve);
    if (set[1].revents != 0) on_signals();
    if (set[0].revents != 0) on_message();
  }

  void on_signals() {
    while (const auto signal = signals_.next()) {
      // Nothing of it runs yet, or any more: it is us who are to end.
      if (is_ending_signal(*signal) && (!runs_ || status_)) {
        outputs_.clear();
        finish(kExitSignalBase + *signal, "");
      } else if (*signal == SIGWINCH && request_.terminal) {
        const auto window = terminal_size();
        tell({"resize", std::to_string(window.rows), std::to_string(window.columns)});
      } else if (*signal != SIGWINCH && runs_) {
        tell({"signal", std::to_string(*signal)});
      }
    }
  }

  void tell(const ExecWords& words) {
    if (socket_) send_exec(socket_.get(), words);
  }

  void on_message() {
    auto received = receive_exec(socket_.get());
    if (std::holds_alternative<ExecNothing>(received)) return;
    auto* message = std::get_if<ExecMessage>(&received);
    if (message == nullptr) {
      socket_.reset();
      return finish(kExitFailure, "the VM has ended");
    }
    const ExecWords& words = message->words;
    if (words[0] == "streams") return on_streams(std::move(message->streams));
    if (words[0] == "started") runs_ = true;
    if (words[0] == "failed" && words.size() == 4) return on_failed(words);
    if (words.size() != 2) return;
    const int number = std::atoi(words[1].c_str());
    if (words[0] == "exited") finish(number, "");
    if (words[0] == "killed") finish(kExitSignalBase + number, "");
  }

  void on_streams(std::vector<Fd> streams) {
    const size_t wanted = request_.terminal ? 2 : kMaxExecStreams;
    if (streams.size() != wanted) return finish(kExitFailure, "the VM gave it other streams");
    // Without the user's input its own ends at once; a terminal's is merely silent.
    if (interactive_) {
      // A terminal is to be there afterwards, to be as it was.
      const bool keep = request_.terminal.has_value();
      input_.emplace(Endpoint::user_input(STDIN_FILENO, keep),
                     Endpoint::stream(std::move(streams[0])));
      auto raw = request_.terminal ? RawTerminal::enter(STDIN_FILENO) : std::nullopt;
      if (raw) terminal_.emplace(std::move(*raw));
    }
    constexpr std::array kOurs{STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO};
    for (size_t i = 1; i < wanted; ++i) {
      outputs_.emplace_back(Endpoint::stream(std::move(streams[i])),
                            Endpoint::user_output(kOurs[i], /*keep=*/true));
    }
    if (outputs_.size() > 1) outputs_[1].mark_lines();
  }

  void on_failed(const ExecWords& words) {
    const StartFailure failure{static_cast<uint32_t>(std::atoi(words[1].c_str())),
                               static_cast<uint32_t>(std::atoi(words[2].c_str())), words[3]};
    const auto [status, line] =
        explain(failure, {request_.command.front(), request_.workdir, request_.user});
    finish(status, line);
  }

  void finish(int status, const std::string& line) {
    if (status_) return;
    status_ = status;
    line_ = line;
    input_.reset();
  }

  Fd socket_;
  SignalSource signals_;
  const ExecRequest& request_;
  bool interactive_;
  bool runs_ = false;
  std::optional<RawTerminal> terminal_;
  std::optional<ByteFlow> input_;
  std::vector<ByteFlow> outputs_;
  std::optional<int> status_;
  std::string line_;  // said when the terminal is the user's again
};

}  // namespace

Result<int> run_exec(Fd socket, const ExecRequest& request, bool interactive) {
  auto signals = SignalSource::take_over();
  if (!signals) return std::unexpected(signals.error());
  return ExecSession(std::move(socket), std::move(*signals), request, interactive).loop();
}

}  // namespace thimble::cli

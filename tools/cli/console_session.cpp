// See console_session.h.
#include "tools/cli/console_session.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "mcp-agent/byte_flow.h"
#include "mcp-agent/server_run.h"
#include "mcp-agent/signals.h"
#include "tools/cli/save_socket.h"
#include "tools/cli/say.h"
#include "tools/cli/terminal.h"

namespace thimble::cli {

namespace {

constexpr int kExitGuestFailure = 1;
// Typed and not yet taken by the guest, besides what the socket holds: enough that a person's
// Ctrl-A x is read of a guest that does not read any more.
constexpr size_t kTyped = size_t{64} * 1024;
// How long the last output may take to arrive after the machine's end was reported.
constexpr int kDrainMs = 1000;

// Carries the console between the terminal and the VM process until the machine ends.
class ConsoleSession {
 public:
  ConsoleSession(VmProcess vm, Fd console, SignalSource signals,
                 std::optional<SaveSocket> save_socket, bool verbose)
      : vm_(std::move(vm)),
        typing_(::fcntl(console.get(), F_DUPFD_CLOEXEC, 3)),
        output_(Endpoint::stream(std::move(console)), Endpoint::user_output(STDOUT_FILENO, true),
                ByteFlow::kDefaultCapacity, ByteFlow::OnError::kGoOn),
        signals_(std::move(signals)),
        save_socket_(std::move(save_socket)),
        verbose_(verbose) {}

  using Outcome = ConsoleOutcome;
  Outcome loop() {
    while (!outcome_) poll_once(-1);
    // What the guest wrote last is still on its way.
    while (vm_lost_ && !output_.done() && poll_once(kDrainMs)) {
    }
    vm_.stop();
    if (output_.error() != 0 && outcome_->status == 0) outcome_->status = kExitOutput;
    return *outcome_;
  }

 private:
  bool poll_once(int timeout) {
    const bool listening = input_open_ && pending_ < kTyped && !outcome_;
    std::array<pollfd, 7> set{pollfd{vm_.poll_fd(), POLLIN, 0},
                              {signals_.poll_fd(), POLLIN, 0},
                              {listening ? STDIN_FILENO : -1, POLLIN, 0},
                              {pending_ > 0 ? typing_.get() : -1, POLLOUT, 0},
                              output_.source_entry(),
                              output_.sink_entry(),
                              {save_socket_ ? save_socket_->poll_fd() : -1, POLLIN, 0}};
    const int n = ::poll(set.data(), set.size(), timeout);
    if (n < 0) return errno == EINTR;
    if (n == 0) return false;
    output_.serve(set[4].revents, set[5].revents);
    tell_output_error();
    if (set[2].revents != 0) read_typed();
    if (pending_ > 0) send_typed();
    if (set[1].revents != 0) on_signals();
    if (set[6].revents != 0 && save_socket_->serve(vm_)) outcome_ = Outcome{};
    if (set[0].revents != 0) {
      if (const auto event = vm_.next_event()) on_event(*event);
    }
    return true;
  }

  // The machine goes on; what cannot be written of its console is lost.
  void tell_output_error() {
    if (output_.error() == 0 || std::exchange(output_error_told_, true)) return;
    say(std::string("stdout: ") + std::strerror(output_.error()) +
        ": the console's output is lost");
  }

  void read_typed() {
    char* const end = typed_.data() + pending_;
    const ssize_t n = ::read(STDIN_FILENO, end, kTyped - pending_);
    if (n <= 0) {
      input_open_ = n < 0 && (errno == EINTR || errno == EAGAIN);
      return;
    }
    pending_ += escape_.filter(end, static_cast<size_t>(n));
    if (escape_.quit()) outcome_ = Outcome{};
  }

  void send_typed() {
    const ssize_t n = ::send(typing_.get(), typed_.data(), pending_, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n < 0) {
      pending_ = 0;
      input_open_ = false;
      return;
    }
    pending_ -= static_cast<size_t>(n);
    std::memmove(typed_.data(), typed_.data() + n, pending_);
  }

  void on_signals() {
    while (const auto signal = signals_.next()) {
      if (is_ending_signal(*signal) && !outcome_) outcome_ = Outcome{kExitSignalBase + *signal, ""};
    }
  }

  void on_event(const VmEvent& event) {
    switch (event.kind) {
      case VmEvent::Kind::kReady:
      case VmEvent::Kind::kConsole:
        return;
      case VmEvent::Kind::kExposed:
        say("the VMM is not fully confined: this host refuses " + event.text);
        return;
      case VmEvent::Kind::kNotice:
        if (verbose_) say(event.text);
        return;
      case VmEvent::Kind::kPrepared:  // of warm VMs
      case VmEvent::Kind::kPong:
      case VmEvent::Kind::kRecorded:
      case VmEvent::Kind::kUnrecorded:
        return;
      case VmEvent::Kind::kSaved:
      case VmEvent::Kind::kUnsaved:
        if (save_socket_) save_socket_->saved(event);
        return;
      case VmEvent::Kind::kRefused:
        outcome_ = Outcome{kExitFailure, event.text};
        break;
      case VmEvent::Kind::kLost:
        outcome_ = Outcome{kExitFailure, "the VMM process died: " + event.text};
        break;
      case VmEvent::Kind::kEnded:
        outcome_ = outcome_of(event);
        break;
    }
    vm_lost_ = true;
  }

  static Outcome outcome_of(const VmEvent& event) {
    const bool asked = event.end == End::Kind::kPowerOff || event.end == End::Kind::kReset ||
                       event.end == End::Kind::kStopped;
    if (asked && !event.panicked) return {};
    return {kExitGuestFailure, event.text};
  }

  VmProcess vm_;
  Fd typing_;
  ByteFlow output_;
  SignalSource signals_;
  std::optional<SaveSocket> save_socket_;
  bool verbose_;
  EscapeFilter escape_;
  std::array<char, kTyped> typed_{};
  size_t pending_ = 0;
  bool input_open_ = true;
  bool vm_lost_ = false;
  bool output_error_told_ = false;
  std::optional<Outcome> outcome_;
};

}  // namespace

Result<ConsoleOutcome> run_console(VmSpec spec, const ConsoleOptions& options) {
  auto console = make_stream_pair();
  if (!console) return std::unexpected(console.error());
  spec.console = std::move(console->second);
  std::optional<SaveSocket> save_socket;
  if (!options.save_socket.empty()) {
    auto made = SaveSocket::make(options.save_socket);
    if (!made) return std::unexpected(made.error());
    save_socket.emplace(std::move(*made));
  }
  auto signals = SignalSource::take_over();
  if (!signals) return std::unexpected(signals.error());
  auto vm = VmProcess::start(std::move(spec));
  if (!vm) return std::unexpected(vm.error());
  if (::isatty(STDIN_FILENO) != 0) say("Ctrl-A x ends the VM");
  const auto raw = RawTerminal::enter(STDIN_FILENO);
  ConsoleSession session(std::move(*vm), std::move(console->first), std::move(*signals),
                         std::move(save_socket), options.verbose);
  return session.loop();
}

int report(const Result<ConsoleOutcome>& outcome) {
  if (!outcome) {
    say(outcome.error().message);
    return kExitFailure;
  }
  if (!outcome->message.empty()) say(outcome->message);
  return outcome->status;
}

}  // namespace thimble::cli

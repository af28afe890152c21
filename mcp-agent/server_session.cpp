// See server_session.h.
#include "mcp-agent/server_session.h"

#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "devices/text.h"
#include "guest-init/protocol.h"
#include "mcp-agent/start_failure.h"
#include "pool/guest/guest_identity.h"

namespace thimble {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A guest that does not answer for so long after a signal that should end it is taken for hung.
constexpr seconds kAnswerTimeout{10};
// How long the VM may take to end once its init closed the control channel.
constexpr seconds kVmEndTimeout{3};
// --timeout: from the end of stdin to SIGTERM, to SIGKILL, to the end of the VM.
constexpr std::array<seconds, 3> kTimeoutSteps{seconds{2}, seconds{5}, seconds{2}};

// A server that a signal has ended, and whose output nobody takes: how long it is held for a
// reader.
constexpr seconds kDrainTimeout{2};

// How long a VM may take to look at all of its memory.
constexpr seconds kRecordTimeout{10};

long long milliseconds_since(std::chrono::steady_clock::time_point then) {
  return static_cast<long long>((std::chrono::steady_clock::now() - then) / milliseconds(1));
}

}  // namespace

ServerSession::ServerSession(VmProcess vm, SignalSource signals, ServerRun run)
    : signals_(std::move(signals)),
      run_(std::move(run)),
      guest_(std::move(vm), {.identity = std::move(run_.identity),
                             .server = run_.server,
                             .is_clone = run_.clone,
                             .start_limit = run_.boot_timeout,
                             .clone_limit = run_.clone_timeout}) {}

GuestSession::Listener ServerSession::listener() {
  return {.on_streams =
              [this](ServerStreams streams) { bridge_.emplace(run_.user, std::move(streams)); },
          .on_there = [this] { on_there(); },
          .on_guest = [this](const GuestEvent& event) { on_guest_event(event); },
          .on_vm = [this](const VmEvent& event) { on_vm_event(event); },
          .on_closed = [this] { on_closed(); },
          .on_error = [this](const Error& error) { finish(kExitFailure, error.message); }};
}

int ServerSession::loop() {
  guest_.begin(listener());
  while (!result_) poll_once();
  guest_.vm().kill();
  return *result_;
}

void ServerSession::poll_once() {
  constexpr size_t kExec = GuestSession::kEntries + 2;
  constexpr size_t kOwn = kExec + ExecService::kEntries;
  std::array<pollfd, kOwn + StdioBridge::kEntries> set{};
  std::ranges::copy(guest_.entries(), set.begin());
  set[2] = {signals_.poll_fd(), POLLIN, 0};
  set[3] = {clock_ ? clock_->poll_fd() : -1, POLLIN, 0};
  std::fill_n(set.begin() + kExec, ExecService::kEntries, pollfd{-1, 0, 0});
  if (exec_) std::ranges::copy(exec_->entries(), set.begin() + kExec);
  size_t count = kOwn;
  if (bridge_) {
    std::ranges::copy(bridge_->entries(), set.begin() + kOwn);
    count = set.size();
  }
  if (::poll(set.data(), count, poll_timeout()) < 0) {
    if (errno != EINTR) finish(kExitFailure, text("wait for events: %s", std::strerror(errno)));
    return;
  }
  if (set[2].revents != 0) {
    while (const auto signal = signals_.next()) on_signal(*signal);
  }
  if (set[3].revents != 0) on_clock();  // before what the client may say about the time
  const std::span<const pollfd> all(set);
  if (bridge_) {
    bridge_->serve(all.subspan<kOwn, StdioBridge::kEntries>());
    tell_output_errors();
    watch_client();
    watch_drain();
  }
  if (exec_) exec_->serve(all.subspan<kExec, ExecService::kEntries>(), guest_);
  guest_.serve(all.first<GuestSession::kEntries>());
  if (bridge_ && bridge_->first_answers_out()) record_working_set();
  on_deadlines();
  guest_.flush();
  check_drained();
}

// ---- the VM process
// ------------------------------------------------------------------------------

void ServerSession::on_vm_event(const VmEvent& event) {
  switch (event.kind) {
    case VmEvent::Kind::kReady:
      notice(text("the guest is up after %lld ms", milliseconds_since(guest_.begun())));
      break;
    case VmEvent::Kind::kConsole:
      notice("console: " + event.text);
      break;
    case VmEvent::Kind::kExposed:
      tell("the VMM is not fully confined: this host refuses " + event.text);
      break;
    case VmEvent::Kind::kNotice:
      notice(event.text);
      break;
    case VmEvent::Kind::kSaved:  // nobody here saves
    case VmEvent::Kind::kUnsaved:
    case VmEvent::Kind::kPrepared:  // of warm VMs
    case VmEvent::Kind::kPong:
      break;
    case VmEvent::Kind::kRecorded:
      on_recorded();
      break;
    case VmEvent::Kind::kUnrecorded:
      notice(event.text);
      working_set_.reset();
      break;
    case VmEvent::Kind::kEnded:
    case VmEvent::Kind::kRefused:
    case VmEvent::Kind::kLost:
      on_vm_gone(event);
      break;
  }
}

void ServerSession::on_vm_gone(const VmEvent& event) {
  working_set_.reset();
  run_.on_working_set = nullptr;
  if (server_status_) return;
  if (event.kind == VmEvent::Kind::kRefused) return on_refused(event.text);
  if (event.kind == VmEvent::Kind::kLost) {
    return finish(kExitFailure, "the VMM process died: " + event.text);
  }
  const auto& lines = guest_.vm().console_tail();
  const bool console_helps = event.end == End::Kind::kReset || event.end == End::Kind::kPowerOff;
  std::string why = event.text;
  if (console_helps && !event.panicked && !lines.empty()) {
    why += " (the last line of its console: " + lines.back() + ")";
  }
  if (is_mute_clone()) return on_refused("its clone ended right away: " + why);
  const char* when = guest_.control().state() == GuestControl::State::kRunning
                         ? "the VM ended while the server ran: "
                         : "the VM ended before the server was started: ";
  finish(kExitFailure, when + why);
}

void ServerSession::on_refused(const std::string& why) {
  if (!run_.on_refused) {
    return finish(kExitFailure, run_.clone_of.empty() ? why : run_.clone_of + ": " + why);
  }
  run_.on_refused(why);
  finish(kExitRefused);
}

// It can be replaced: its guest has said nothing, so nothing was asked of it either.
bool ServerSession::is_mute_clone() const {
  return run_.clone && run_.on_refused && guest_.is_mute();
}

// ---- the guest
// -----------------------------------------------------------------------------------

void ServerSession::on_closed() {
  if (!server_status_) vm_end_deadline_ = Clock::now() + kVmEndTimeout;
}

void ServerSession::on_guest_event(const GuestEvent& event) {
  if (event.process != protocol::kServerProcess) {
    if (exec_) exec_->on_guest(event);
    return;
  }
  switch (event.kind) {
    case GuestEvent::Kind::kHello:
    case GuestEvent::Kind::kConfigured:
    case GuestEvent::Kind::kThawed:
    case GuestEvent::Kind::kStarted:
    case GuestEvent::Kind::kFrozen:  // nobody here freezes: it comes only as an answer
      return;                        // the others are the guest session's
    case GuestEvent::Kind::kFailed:
      return on_failed(event);
    case GuestEvent::Kind::kExited:
      return on_exited(event);
    case GuestEvent::Kind::kPong:
      answer_deadline_.reset();
      return;
    case GuestEvent::Kind::kNotice:
      return notice("guest: " + event.text);
    case GuestEvent::Kind::kBroken:
      if (server_status_) return;  // it has ended, and that was said in order
      return finish(kExitFailure, "the guest broke the control protocol: " + event.text);
  }
}

void ServerSession::on_there() {
  if (run_.timeout) timeout_deadline_ = Clock::now() + *run_.timeout;
  notice(text("the server runs after %lld ms", milliseconds_since(guest_.begun())));
  if (auto watch = ClockWatch::create()) clock_.emplace(std::move(*watch));
  if (run_.exec_listener) exec_.emplace(std::move(run_.exec_listener), run_.server);
  if (run_.on_started) run_.on_started();
}

void ServerSession::on_failed(const GuestEvent& event) {
  const ServerSpec& server = run_.server;
  // That of a clone may have been started before.
  const std::string command = server.arguments.empty() ? "" : server.arguments.front();
  const auto [status, line] =
      explain({event.step, event.error, event.text}, {command, server.workdir, server.user});
  finish(status, line);
}

void ServerSession::on_exited(const GuestEvent& event) {
  server_status_ = event.exit_signal ? kExitSignalBase + static_cast<int>(*event.exit_signal)
                                     : static_cast<int>(event.exit_code.value_or(0));
  // Once it has begun to end the server, --timeout ends the wait for a reader, too.
  if (timeout_step_ > 0) {
    server_status_ = kExitTimeout;
  } else {
    timeout_deadline_.reset();
  }
  answer_deadline_.reset();
  unheard_deadline_.reset();
  const auto now = Clock::now();
  const bool asked = asked_to_end_ != 0 && now - asked_at_ < kAnswerTimeout;
  if (asked || unheard_step_ > 0) drain_deadline_ = now + kDrainTimeout;
  if (bridge_) bridge_->end_input();
  say_oom_kills(event.oom_kills);
}

// The number is the guest's word, and root in the guest may have made it up: it is passed on as
// such.
void ServerSession::say_oom_kills(uint32_t count) {
  constexpr uint32_t kBelievable = 1000;
  if (count == 0) return;
  const std::string many = count > kBelievable ? "very many" : std::to_string(count);
  tell("the guest says that it ran out of memory and killed " + many +
       " of the server's processes: if you trust it with more, --memory gives it more");
}

// ---- signals and time
// ----------------------------------------------------------------------------

void ServerSession::on_signal(int signal) {
  if (!guest_.control().takes_signals()) {
    // No server yet, or none any more: the signal means `thimble` itself.
    if (is_ending_signal(signal)) finish(kExitSignalBase + signal);
    return;
  }
  if (auto sent = guest_.control().signal(static_cast<uint32_t>(signal)); !sent) {
    return finish(kExitFailure, sent.error().message);
  }
  if (!is_ending_signal(signal)) return;
  asked_to_end_ = signal;
  asked_at_ = Clock::now();
  if (!answer_deadline_ && guest_.control().ping(1))
    answer_deadline_ = Clock::now() + kAnswerTimeout;
}

void ServerSession::next_step_of_timeout() {
  if (server_status_) return finish(*server_status_);
  const auto step = static_cast<size_t>(timeout_step_++);
  if (step >= kTimeoutSteps.size()) return finish(kExitTimeout);
  timeout_deadline_ = Clock::now() + kTimeoutSteps[step];
  if (step == 0) {
    tell("--timeout reached: ending the server");
    if (bridge_) bridge_->end_input();
  }
  const uint32_t signal = step == 1 ? SIGTERM : SIGKILL;
  if (auto sent = step == 0 ? guest_.control().end() : guest_.control().signal(signal); !sent) {
    finish(kExitTimeout, sent.error().message);
  }
}

// A server may compute for as long as it wants to after the end of its input, but not when nobody
// is there to hear of it. The guest's init ends one that is silent; this is for all others, after
// the time that such a one has.
void ServerSession::watch_client() {
  const ServerSpec& server = run_.server;
  if (unheard_deadline_ || server.stdin_grace_ms == 0 || !guest_.control().takes_signals()) return;
  if (!bridge_->client_gone()) return;
  unheard_deadline_ =
      Clock::now() + milliseconds(server.stdin_grace_ms) + milliseconds(server.term_grace_ms);
}

void ServerSession::next_step_without_client() {
  const int step = unheard_step_++;
  if (step >= 2) return finish(kExitSignalBase + SIGKILL);
  if (step == 0) notice("the client is gone: ending the server");
  unheard_deadline_ =
      Clock::now() + (step == 0 ? milliseconds(run_.server.term_grace_ms) : kAnswerTimeout);
  const uint32_t signal = step == 0 ? SIGTERM : SIGKILL;
  if (auto sent = guest_.control().signal(signal); !sent)
    finish(kExitFailure, sent.error().message);
}

// As long as somebody reads, a slow reader loses nothing.
void ServerSession::watch_drain() {
  if (!drain_deadline_ || bridge_->written() == drained_) return;
  drained_ = bridge_->written();
  drain_deadline_ = Clock::now() + kDrainTimeout;
}

void ServerSession::on_deadlines() {
  const auto now = Clock::now();
  const auto reached = [now](const Deadline& deadline) { return deadline && now >= *deadline; };
  if (result_) return;
  if (reached(recorded_deadline_)) working_set_.reset();
  if (exec_) exec_->on_deadline(guest_);
  if (reached(guest_.deadline()) && is_mute_clone()) {
    on_refused("its clone does not answer");
  } else if (reached(guest_.deadline())) {
    const auto& lines = guest_.vm().console_tail();
    finish(kExitFailure, text("the guest did not start the server within %lld s%s",
                              static_cast<long long>(run_.boot_timeout / seconds(1)),
                              lines.empty() ? ": run with --verbose to see its console" : ""));
  } else if (reached(timeout_deadline_)) {
    next_step_of_timeout();
  } else if (reached(unheard_deadline_)) {
    next_step_without_client();
  } else if (reached(drain_deadline_)) {
    finish(*server_status_);
  } else if (reached(answer_deadline_)) {
    finish(kExitSignalBase + asked_to_end_, "the guest does not answer any more: VM killed");
  } else if (reached(vm_end_deadline_) && !server_status_) {
    finish(kExitFailure, "the guest shut itself down without an end of the server: VM killed");
  }
}

// A guest that has ended has no clock any more.
void ServerSession::on_clock() {
  if (clock_->was_set() && guest_.control().set_clock(wall_clock_ns())) {
    notice("the host's clock was set, and the guest's with it");
  }
}

int ServerSession::poll_timeout() const {
  Deadline next;
  for (const Deadline& deadline :
       {guest_.deadline(), timeout_deadline_, unheard_deadline_, drain_deadline_, answer_deadline_,
        vm_end_deadline_, working_set_ ? recorded_deadline_ : Deadline(),
        exec_ ? exec_->deadline() : Deadline()}) {
    if (deadline && (!next || *deadline < *next)) next = deadline;
  }
  if (!next) return -1;
  const auto left = std::chrono::ceil<milliseconds>(*next - Clock::now());
  return static_cast<int>(std::clamp<long long>(left.count(), 0, 1'000'000));
}

// ---- small things
// --------------------------------------------------------------------------------

// Once. The VMM process writes into memory of ours, so that it needs no place for a file.
void ServerSession::record_working_set() {
  if (!run_.on_working_set || recorded_deadline_) return;
  recorded_deadline_ = Clock::now() + kRecordTimeout;
  working_set_ = Fd(::memfd_create("working set", MFD_CLOEXEC));
  if (working_set_ && !guest_.vm().record_working_set(working_set_.get())) working_set_.reset();
}

void ServerSession::on_recorded() {
  constexpr off_t kMaxBytes = off_t{16} << 20;
  const Fd file = std::move(working_set_);
  const off_t size = file ? ::lseek(file.get(), 0, SEEK_END) : -1;
  if (!run_.on_working_set || size <= 0 || size > kMaxBytes) return;
  std::vector<uint8_t> set(static_cast<size_t>(size));
  if (::pread(file.get(), set.data(), set.size(), 0) == size) run_.on_working_set(set);
}

void ServerSession::notice(std::string_view line) {
  if (run_.verbose) tell(line);
}

void ServerSession::tell(std::string_view line) {
  if (bridge_ && bridge_->leave_error_line() && run_.end_line) run_.end_line();
  run_.say(line);
}

void ServerSession::finish(int status, std::string_view message) {
  if (result_) return;
  result_ = status;
  if (!message.empty()) tell(message);
}

void ServerSession::check_drained() {
  if (!server_status_ || !bridge_ || !bridge_->output_done()) return;
  record_working_set();
  if (working_set_) return;
  const bool failed = *server_status_ > 0 && *server_status_ < kExitTimeout;
  if (failed && run_.on_early_end && bridge_->nothing_answered()) {
    if (bridge_->leave_error_line() && run_.end_line) run_.end_line();
    run_.on_early_end(bridge_->beginning_of_error());
  }
  finish(status_of_output(*server_status_));
}

// ---- output that could not be written
// ----------------------------------------------------------------------------

// Of stderr when it can be heard: it is what could not be written to.
void ServerSession::tell_output_errors() {
  if (bridge_->output_error() != 0 && !std::exchange(output_error_told_, true)) {
    tell(text("stdout: %s: what the server writes from here on is lost",
              std::strerror(bridge_->output_error())));
  }
  const uint64_t lost = bridge_->stderr_lost() - stderr_lost_told_;
  if (lost == 0 || !(bridge_->stderr_recovered() || bridge_->output_done())) return;
  stderr_lost_told_ += lost;
  tell(text("stderr: %s: %lu bytes of the server's were lost",
            std::strerror(bridge_->stderr_error()), lost));
}

// A server ends as it wants to, not knowing that its words were lost; with SIGPIPE since the stream
// was cut off.
int ServerSession::status_of_output(int server_status) const {
  const bool failed = bridge_->output_error() != 0 || bridge_->stderr_error() != 0;
  const bool content = server_status == 0 || server_status == kExitSignalBase + SIGPIPE;
  return failed && content ? kExitOutput : server_status;
}

// ---- run_server
// ----------------------------------------------------------------------------------

int run_server(const StartVm& start_vm, ServerRun run) {
  const auto refuse = [&run](const Error& error) {
    run.say(error.message);
    return kExitFailure;
  };
  auto signals = SignalSource::take_over();
  if (!signals) return refuse(signals.error());
  auto vm = start_vm();
  if (!vm) return refuse(vm.error());
  return ServerSession(std::move(*vm), std::move(*signals), std::move(run)).loop();
}

}  // namespace thimble

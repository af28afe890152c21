#include "guest-init/session.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest-init/clock.h"
#include "guest-init/names.h"
#include "guest-init/transport.h"

namespace thimble::init {

using protocol::StreamPreface;

namespace {

constexpr uint64_t kNever = UINT64_MAX;
// How long a host may take to read the last message before the power goes off.
constexpr int kFarewellMs = 1000;

// For poll(2): rounded so that a deadline has passed when it returns.
int timeout_until(uint64_t deadline) {
  if (deadline == kNever) return -1;
  const uint64_t now = now_ms();
  if (deadline <= now) return 0;
  const uint64_t left = deadline - now;
  return left > INT32_MAX ? INT32_MAX : static_cast<int>(left);
}

}  // namespace

void Session::open(int control_listener, int stream_listener, const Platform& platform) {
  platform_ = platform;
  control_listener_ = control_listener;
  stream_listener_ = stream_listener;
  signal(SIGPIPE, SIG_IGN);
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  sigprocmask(SIG_BLOCK, &child, nullptr);
  child_events_ = signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);
}

void Session::run() {
  while (!power_off_) wait_and_serve();
  control_.flush(kFarewellMs);
}

void Session::wait_and_serve() {
  PollSet set;
  add_connections(set);
  // Between a snapshot and its thaw nothing is passed on: not even the end of a client's input.
  const bool relays = !is_frozen();
  if (relays) {
    input_.add(set);
    output_.add(set);
    error_.add(set);
  }
  set.wait(timeout_until(next_deadline()));
  if (relays) run_relays(set);
  if (set.at(child_index_)) reap_children();
  if (set.at(names_index_)) answer_names(platform_.names);
  for (Guest& guest : unnamed_) {
    if (set.at(guest.index)) read_preface(guest);
  }
  if (set.at(stream_index_)) accept_stream();
  control_.run(set);
  if (set.at(control_index_)) accept_control();
  serve_control();
  report_exit_when_drained();
  end_when_due();
}

void Session::run_relays(const PollSet& set) {
  const bool had_input = !input_.host_ended();
  bool moved = input_.run(set);
  // The grace begins with the end of the input, however long the server was idle before.
  if (had_input && input_.host_ended()) moved = true;
  moved = output_.run(set) || moved;
  moved = error_.run(set) || moved;
  if (moved) note_activity();
}

void Session::add_connections(PollSet& set) {
  child_index_ = set.add(child_events_, POLLIN);
  control_index_ = set.add(control_listener_, POLLIN);
  stream_index_ = set.add(stream_listener_, POLLIN);
  names_index_ = platform_.names < 0 ? PollSet::kNone : set.add(platform_.names, POLLIN);
  control_.add(set);
  for (Guest& guest : unnamed_) {
    guest.index = guest.fd < 0 ? PollSet::kNone : set.add(guest.fd, POLLIN);
  }
}

void Session::accept_control() {
  const int fd = accept_host(control_listener_);
  if (fd < 0) return;
  // In a clone the loss of the template's host and the next one may be seen in one round.
  if (is_frozen() && control_.closed_by_host()) lose_host();
  if (control_.connected()) {
    close(fd);  // there is one host, and it is here already
    return;
  }
  control_.connect(fd);
  FrameWriter hello(protocol::kHello);
  hello.add_u32(protocol::kTagVersion, protocol::kVersion)
      .add_u32(protocol::kTagState, guest_state());
  control_.send(hello);
  if (platform_.notice) send_notice(platform_.notice);
}

// One in a round: poll() tells of the next. Linux (6.1) lets even a non-blocking accept(2) of vsock
// sleep until its next tick when nobody has connected, 10 ms at worst.
void Session::accept_stream() {
  for (Guest& guest : unnamed_) {
    if (guest.fd >= 0) continue;
    const int fd = accept_host(stream_listener_);
    if (fd < 0) return;
    guest = Guest{};
    guest.fd = fd;
    return read_preface(guest);
  }
}

bool Session::streams_connected(uint32_t wanted) const {
  const uint32_t connected = (input_.connected() ? 1U << protocol::kStdin : 0) |
                             (output_.connected() ? 1U << protocol::kStdout : 0) |
                             (error_.connected() ? 1U << protocol::kStderr : 0);
  return (wanted & ~connected) == 0;
}

// Reads no further than the preface: what follows belongs to the server.
void Session::read_preface(Guest& guest) {
  const size_t missing = sizeof guest.preface - guest.got;
  const ssize_t got = recv(guest.fd, guest.preface + guest.got, missing, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got > 0) guest.got += static_cast<size_t>(got);
  if (got > 0 && guest.got < sizeof guest.preface) return;
  const int fd = guest.fd;
  guest.fd = -1;
  guest.index = PollSet::kNone;
  if (got <= 0) {
    close(fd);
    return;
  }
  StreamPreface preface;
  memcpy(&preface, guest.preface, sizeof preface);
  if (preface.magic == protocol::kStreamMagic) return attach_stream(fd, preface.stream);
  close(fd);
  protocol_error("a stream's preface has a wrong magic");
}

void Session::attach_stream(int fd, uint32_t stream) {
  const bool early = takes_streams();
  if (early && stream == protocol::kStdin && !input_.connected()) return input_.connect(fd);
  if (early && stream == protocol::kStdout && !output_.connected()) return output_.connect(fd);
  if (early && stream == protocol::kStderr && !error_.connected()) return error_.connect(fd);
  close(fd);
  protocol_error("a stream is unknown, or connected twice or too late");
}

void Session::serve_control() {
  Frame frame;
  const char* why = nullptr;
  while (!power_off_) {
    switch (control_.take(frame, why)) {
      case ControlChannel::Input::kNothing:
        return;
      case ControlChannel::Input::kClosed:
        if (is_frozen()) return lose_host();
        power_off_ = true;
        return;
      case ControlChannel::Input::kMalformed:
        return protocol_error(why);
      case ControlChannel::Input::kFrame:
        // Connections are not ordered among each other: a start may overtake its streams.
        if (awaits_streams(frame)) return control_.put_back();
        why = dispatch(frame);
        if (why) return protocol_error(why);
        break;
    }
  }
}

const char* Session::dispatch(const Frame& frame) {
  switch (frame.type) {
    case protocol::kConfigure:
      return on_configure(frame);
    case protocol::kStart:
      return on_start(frame);
    case protocol::kSignal:
      return on_signal(frame);
    case protocol::kPing:
      return on_ping(frame);
    case protocol::kEnd:
      return on_end(frame);
    case protocol::kFreeze:
      return on_freeze(frame);
    case protocol::kThaw:
      return on_thaw(frame);
    case protocol::kSetClock:
      return on_set_clock(frame);
    case protocol::kPowerOff:
      power_off_ = true;
      return decode_empty(frame.size);
    default:
      return "unknown message type";
  }
}

const char* Session::on_configure(const Frame& frame) {
  if (identity_known_) return "configure came twice";
  if (const char* why = decode_configure(frame.payload, frame.size, configure_)) return why;
  Failure failure;
  if (!platform_.configure(platform_.context, configure_, failure)) {
    send_failed(failure);
    return nullptr;
  }
  identity_known_ = true;
  if (state_ == State::kFresh) state_ = State::kConfigured;
  FrameWriter configured(protocol::kConfigured);
  control_.send(configured);
  return nullptr;
}

const char* Session::on_start(const Frame& frame) {
  if (state_ != State::kConfigured) return "start came before configure, or twice";
  if (freezing_ != Freezing::kNo) return "start came while frozen";
  if (const char* why = decode_start(frame.payload, frame.size, start_)) return why;
  Failure failure;
  ServerPipes pipes;
  if (!start_server(start_, platform_.child, server_, pipes, failure)) {
    send_failed(failure);
    return nullptr;
  }
  input_.open(pipes.to_stdin);
  output_.open(pipes.from_stdout);
  error_.open(pipes.from_stderr);
  stdin_grace_ms_ = start_.stdin_grace_ms;
  term_grace_ms_ = start_.term_grace_ms;
  note_activity();
  state_ = State::kRunning;
  FrameWriter started(protocol::kStarted);
  started.add_u32(protocol::kTagPid, static_cast<uint32_t>(server_.pid));
  control_.send(started);
  return nullptr;
}

const char* Session::on_signal(const Frame& frame) {
  int number = 0;
  if (const char* why = decode_signal(frame.payload, frame.size, number)) return why;
  if (state_ == State::kFresh || state_ == State::kConfigured) return "signal came before start";
  signalled_ = true;
  signal_server(number);
  return nullptr;
}

const char* Session::on_ping(const Frame& frame) {
  uint64_t nonce = 0;
  if (const char* why = decode_ping(frame.payload, frame.size, nonce)) return why;
  FrameWriter pong(protocol::kPong);
  pong.add_u64(protocol::kTagNonce, nonce);
  control_.send(pong);
  return nullptr;
}

const char* Session::on_end(const Frame& frame) {
  if (const char* why = decode_empty(frame.size)) return why;
  if (state_ == State::kFresh || state_ == State::kConfigured) return "end came before start";
  if (state_ != State::kRunning) return nullptr;
  input_.end();
  note_activity();
  return nullptr;
}

// A clock that cannot be set is no reason to end the server.
const char* Session::on_set_clock(const Frame& frame) {
  uint64_t since_epoch_ns = 0;
  if (const char* why = decode_set_clock(frame.payload, frame.size, since_epoch_ns)) return why;
  if (!identity_known_) return "set-clock came before configure";
  Failure failure;
  if (platform_.set_clock && !platform_.set_clock(platform_.context, since_epoch_ns, failure)) {
    send_notice(failure.text);
  }
  return nullptr;
}

void Session::send_notice(const char* text) {
  FrameWriter notice(protocol::kNotice);
  notice.add_text(protocol::kTagText, text);
  control_.send(notice);
}

void Session::send_failed(const Failure& failure) {
  FrameWriter failed(protocol::kFailed);
  failed.add_u32(protocol::kTagErrno, static_cast<uint32_t>(failure.error))
      .add_u32(protocol::kTagStep, failure.step)
      .add_text(protocol::kTagText, failure.text);
  control_.send(failed);
}

void Session::protocol_error(const char* why) {
  Failure failure;
  fail(failure, protocol::kStepProtocol, EPROTO, "%s", why);
  send_failed(failure);
  power_off_ = true;
}

void Session::reap_children() {
  signalfd_siginfo info;
  while (read(child_events_, &info, sizeof info) > 0) {
    // One event can stand for many children: they are counted by waiting, not here.
  }
  pid_t pid = -1;
  int status = 0;
  while (reap(pid, status)) {
    if (pid == server_.parent) on_parent_ended(status);
    if (pid == server_.pid) on_server_ended(status);
  }
}

// It ends as the server did. When somebody killed it, the server is init's own child by now,
// running or not, and is heard of by itself.
void Session::on_parent_ended(int status) {
  server_.parent = -1;
  const bool lives = server_.pid > 0 && kill(server_.pid, 0) == 0;
  if (state_ == State::kRunning && !lives) on_server_ended(status);
}

void Session::on_server_ended(int status) {
  server_.pid = -1;
  exit_status_ = status;
  if (freezing_ == Freezing::kAwaitingIdle) freezing_ = Freezing::kNo;
  state_ = State::kDraining;
  input_.close_all();
  output_.finish();
  error_.finish();
}

// A host that has sent a signal hears of the end at once: it may be that nobody takes the output.
void Session::report_exit_when_drained() {
  if (state_ != State::kDraining) return;
  if (!signalled_ && (!output_.finished() || !error_.finished())) return;
  state_ = State::kExited;
  FrameWriter exited(protocol::kExited);
  if (WIFSIGNALED(exit_status_)) {
    exited.add_u32(protocol::kTagExitSignal, static_cast<uint32_t>(WTERMSIG(exit_status_)));
  } else {
    exited.add_u32(protocol::kTagExitCode, static_cast<uint32_t>(WEXITSTATUS(exit_status_)));
  }
  exited.add_u32(protocol::kTagOomKills, platform_.oom_kills(platform_.context));
  control_.send(exited);
}

uint64_t Session::next_deadline() const {
  if (state_ != State::kRunning || is_frozen()) return kNever;
  if (freezing_ == Freezing::kAwaitingIdle) return next_look_ms_;
  if (ending_ == Ending::kTerminated && term_grace_ms_) return terminated_ms_ + term_grace_ms_;
  if (ending_ != Ending::kNone || !stdin_grace_ms_ || !input_.host_ended()) return kNever;
  // A server whose output the host does not take is not to blame for being silent.
  if (output_.waits_for_host() || error_.waits_for_host()) return kNever;
  return last_activity_ms_ + (sampled_ ? stdin_grace_ms_ : stdin_grace_ms_ / 2);
}

void Session::note_activity() {
  last_activity_ms_ = now_ms();
  sampled_ = false;
}

uint64_t Session::server_cpu_ms() const {
  return platform_.cpu_ms ? platform_.cpu_ms(platform_.context) : 0;
}

// A silent server that computes is not waiting for anybody. Half-way through the grace its
// processor time is noted; at the end it must have used less than a quarter of the time since.
bool Session::server_worked() const {
  constexpr uint64_t kBusyShare = 4;
  return (server_cpu_ms() - cpu_sample_ms_) * kBusyShare > stdin_grace_ms_ / 2;
}

void Session::end_when_due() {
  const uint64_t deadline = next_deadline();
  if (deadline == kNever || now_ms() < deadline) return;
  if (freezing_ == Freezing::kAwaitingIdle) return look_for_idle();
  if (ending_ == Ending::kTerminated) {
    signal_server(SIGKILL);
    ending_ = Ending::kKilled;
    return;
  }
  if (!sampled_) {
    sampled_ = true;
    cpu_sample_ms_ = server_cpu_ms();
    return;
  }
  if (server_worked()) return note_activity();
  signal_server(SIGTERM);
  terminated_ms_ = now_ms();
  ending_ = Ending::kTerminated;
}

// The whole process group: a server behind a shell or npx is to hear it too.
void Session::signal_server(int number) {
  if (server_.pid > 0) kill(-server_.pid, number);
}

}  // namespace thimble::init

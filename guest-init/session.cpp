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
  for (uint32_t i = 0; i < kProcesses; ++i) processes_[i].buffer_in(buffers_[i]);
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
    for (Process& process : processes_) {
      if (!process.is_free()) process.add(set);
    }
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
  report_ends();
  end_when_due();
}

void Session::run_relays(const PollSet& set) {
  for (Process& process : processes_) {
    if (process.is_free()) continue;
    if (process.run(set) && &process == &server_) note_activity();
  }
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
  if (preface.magic == protocol::kStreamMagic) return attach_stream(fd, preface);
  close(fd);
  protocol_error("a stream's preface has a wrong magic");
}

void Session::attach_stream(int fd, const StreamPreface& preface) {
  Process* const process = find(preface.process);
  if (process && takes_streams(*process) && process->attach(fd, preface.stream)) return;
  close(fd);
  protocol_error("a stream is unknown, or connected twice or too late");
}

Process* Session::find(uint32_t process) {
  return process <= protocol::kMaxProcesses ? &processes_[process] : nullptr;
}

uint32_t Session::number_of(const Process& process) const {
  return static_cast<uint32_t>(&process - processes_);
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
    case protocol::kResize:
      return on_resize(frame);
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
  if (state_ == State::kFresh) return "start came before configure";
  if (freezing_ != Freezing::kNo) return "start came while frozen";
  if (const char* why = decode_start(frame.payload, frame.size, start_)) return why;
  Process& process = processes_[start_.process];
  if (process.state() != Process::State::kNone) return "start came twice";
  return &process == &server_ ? start_server_process() : start_beside(process);
}

const char* Session::start_server_process() {
  Failure failure;
  if (!server_.start(start_, platform_.child, failure)) {
    send_failed(failure);
    return nullptr;
  }
  detached_ = start_.detached;
  stdin_grace_ms_ = start_.stdin_grace_ms;
  term_grace_ms_ = start_.term_grace_ms;
  note_activity();
  state_ = State::kStarted;
  FrameWriter started(protocol::kStarted);
  started.add_u32(protocol::kTagPid, static_cast<uint32_t>(server_.pid()));
  control_.send(started);
  return nullptr;
}

// Not in the server's cgroup: what it does is not the server's work, and does not keep that from
// being found idle.
const char* Session::start_beside(Process& process) {
  const uint32_t number = number_of(process);
  ChildSettings settings = platform_.child;
  settings.cgroup_procs = nullptr;
  Failure failure;
  if (!process.start(start_, settings, failure)) {
    process.forget();
    send_failed(failure, number);
    return nullptr;
  }
  FrameWriter started(protocol::kStarted);
  started.add_u32(protocol::kTagPid, static_cast<uint32_t>(process.pid()))
      .add_u32(protocol::kTagProcess, number);
  control_.send(started);
  return nullptr;
}

// One that has ended meanwhile hears nothing: its end is on its way.
const char* Session::on_signal(const Frame& frame) {
  Signal signal;
  if (const char* why = decode_signal(frame.payload, frame.size, signal)) return why;
  Process& process = processes_[signal.process];
  if (&process == &server_ && state_ != State::kStarted) return "signal came before start";
  if (process.state() == Process::State::kNone) return nullptr;
  // What is beside the server is told of with all of its output, or when its streams are gone.
  if (&process == &server_) process.note_signal_of_host();
  process.signal(signal.number);
  return nullptr;
}

const char* Session::on_resize(const Frame& frame) {
  Resize resize;
  if (const char* why = decode_resize(frame.payload, frame.size, resize)) return why;
  processes_[resize.process].resize(resize.window);
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
  if (state_ != State::kStarted) return "end came before start";
  if (!server_.runs()) return nullptr;
  server_.end_input();
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

void Session::send_failed(const Failure& failure, uint32_t process) {
  FrameWriter failed(protocol::kFailed);
  failed.add_u32(protocol::kTagErrno, static_cast<uint32_t>(failure.error))
      .add_u32(protocol::kTagStep, failure.step)
      .add_text(protocol::kTagText, failure.text);
  if (process != protocol::kServerProcess) failed.add_u32(protocol::kTagProcess, process);
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
    for (Process& process : processes_) {
      const bool ended = process.on_child_ended(pid, status);
      if (ended && &process == &server_ && freezing_ == Freezing::kAwaitingIdle) {
        freezing_ = Freezing::kNo;
      }
    }
  }
}

void Session::report_ends() {
  for (Process& process : processes_) {
    if (process.end_is_due()) report_end(process);
  }
}

// The server's place stays taken: it is started once.
void Session::report_end(Process& process) {
  const int status = process.tell_end();
  FrameWriter exited(protocol::kExited);
  if (WIFSIGNALED(status)) {
    exited.add_u32(protocol::kTagExitSignal, static_cast<uint32_t>(WTERMSIG(status)));
  } else {
    exited.add_u32(protocol::kTagExitCode, static_cast<uint32_t>(WEXITSTATUS(status)));
  }
  if (&process == &server_) {
    exited.add_u32(protocol::kTagOomKills, platform_.oom_kills(platform_.context));
  } else {
    exited.add_u32(protocol::kTagProcess, number_of(process));
    process.forget();
  }
  control_.send(exited);
}

uint64_t Session::next_deadline() const {
  if (!server_.runs() || is_frozen()) return kNever;
  if (freezing_ == Freezing::kAwaitingIdle) return next_look_ms_;
  if (ending_ == Ending::kTerminated && term_grace_ms_) return terminated_ms_ + term_grace_ms_;
  if (ending_ != Ending::kNone || !stdin_grace_ms_ || !server_.input_ended()) return kNever;
  // A server whose output the host does not take is not to blame for being silent.
  if (server_.waits_for_host()) return kNever;
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
    server_.signal(SIGKILL);
    ending_ = Ending::kKilled;
    return;
  }
  if (!sampled_) {
    sampled_ = true;
    cpu_sample_ms_ = server_cpu_ms();
    return;
  }
  if (server_worked()) return note_activity();
  server_.signal(SIGTERM);
  terminated_ms_ = now_ms();
  ending_ = Ending::kTerminated;
}

}  // namespace thimble::init

// See guest_session.h.
#include "pool/guest/guest_session.h"

#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "pool/guest/guest_identity.h"

namespace thimble {

namespace {

constexpr size_t kChunk = size_t{8} * 1024;
// At a time: a VMM process that floods its channel must not hold up everything else.
constexpr int kEventsAtOnce = 64;
// More than a socket holds, since the process that says it ended may go on writing.
constexpr int kLastReads = 64;

bool is_end(const VmEvent& event) {
  return event.kind == VmEvent::Kind::kEnded || event.kind == VmEvent::Kind::kRefused ||
         event.kind == VmEvent::Kind::kLost;
}

}  // namespace

GuestSession::GuestSession(VmProcess vm, GuestOrder order)
    : vm_(std::move(vm)),
      order_(std::move(order)),
      deadline_(begun_ + (order_.is_clone ? order_.clone_limit : order_.start_limit)) {}

void GuestSession::begin(Listener listener) {
  listener_ = std::move(listener);
  if (order_.is_clone) connect();
}

std::array<pollfd, GuestSession::kEntries> GuestSession::entries() const {
  const auto control_events =
      static_cast<short>(POLLIN | (control_.output().empty() ? 0 : POLLOUT));
  return {{{socket_.get(), control_events, 0}, {vm_.poll_fd(), POLLIN, 0}}};
}

void GuestSession::serve(std::span<const pollfd, kEntries> answered) {
  if (answered[0].revents != 0) on_control_readable();
  for (int i = 0; answered[1].revents != 0 && i < kEventsAtOnce; ++i) {
    const auto event = vm_.next_event();
    if (!event) break;
    on_vm_event(*event);
  }
  flush();
}

void GuestSession::flush() {
  while (socket_ && !control_.output().empty()) {
    const auto bytes = control_.output();
    const ssize_t n =
        ::send(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // full, or gone: then reading says so
    control_.sent(static_cast<size_t>(n));
  }
}

// ---- the VM

void GuestSession::on_vm_event(const VmEvent& event) {
  if (event.kind == VmEvent::Kind::kReady) connect();
  if (is_end(event)) {
    // The guest's last words may still be in the channel: its end is only a failure without them.
    for (int i = 0; i < kLastReads && socket_; ++i) on_control_readable();
    socket_.reset();
  }
  listener_.on_vm(event);
}

void GuestSession::connect() {
  if (socket_ || !is_mute()) return;
  auto socket = vm_.connect(protocol::kControlPort);
  if (!socket) return on_no_stream(socket.error());
  socket_ = std::move(*socket);
}

// A VM that has ended meanwhile takes no streams, and has said why.
void GuestSession::on_no_stream(const Error& error) {
  for (int i = 0; i < kEventsAtOnce; ++i) {
    const auto event = vm_.next_event();
    if (!event) break;
    if (event->kind == VmEvent::Kind::kReady) continue;
    on_vm_event(*event);
    if (is_end(*event)) return;
  }
  listener_.on_error(error);
}

// ---- the guest

void GuestSession::on_control_readable() {
  std::array<uint8_t, kChunk> bytes{};
  const ssize_t n = ::recv(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (n < 0 && errno == EINTR) return;
  if (n < 0 && errno == EAGAIN) {
    // With nothing to read, a VM that is gone has said all it had to say.
    if (vm_.poll_fd() < 0) socket_.reset();
    return;
  }
  if (n <= 0) {
    socket_.reset();
    return listener_.on_closed();
  }
  control_.received(std::span(bytes).first(static_cast<size_t>(n)));
  while (const auto event = control_.next_event()) on_guest_event(*event);
}

void GuestSession::on_guest_event(const GuestEvent& event) {
  switch (event.kind) {
    case GuestEvent::Kind::kHello:
      return shake_hands();
    case GuestEvent::Kind::kConfigured:
    case GuestEvent::Kind::kThawed:
      return go_on();
    case GuestEvent::Kind::kStarted:
      return order_.server && event.process == protocol::kServerProcess ? arrive()
                                                                        : listener_.on_guest(event);
    case GuestEvent::Kind::kFailed:
    case GuestEvent::Kind::kExited:
    case GuestEvent::Kind::kPong:
    case GuestEvent::Kind::kFrozen:
    case GuestEvent::Kind::kNotice:
    case GuestEvent::Kind::kBroken:
      return listener_.on_guest(event);
  }
}

// Before the hello the guest may still be losing the template's host, and streams with it.
void GuestSession::shake_hands() {
  deadline_ = begun_ + order_.start_limit;
  if (order_.server) {
    auto streams = connect_streams(vm_);
    if (!streams) return on_no_stream(streams.error());
    listener_.on_streams(std::move(*streams));
  }
  // What the boot has taken is not to be missing.
  if (order_.identity.wall_clock_ns != 0) order_.identity.wall_clock_ns = wall_clock_ns();
  ask(control_.configure(order_.identity));
}

// After each answer: a booted guest starts its server; a clone is thawed first, and has a server
// already unless it was frozen before that.
void GuestSession::go_on() {
  if (!order_.server) return arrive();
  switch (control_.state()) {
    case GuestControl::State::kConfigured:
      return ask(control_.start(*order_.server));
    case GuestControl::State::kFrozen:
      return ask(control_.thaw({.stdin_grace_ms = order_.server->stdin_grace_ms,
                                .term_grace_ms = order_.server->term_grace_ms}));
    case GuestControl::State::kRunning:
      return arrive();
    default:
      return;
  }
}

void GuestSession::arrive() {
  deadline_.reset();
  listener_.on_there();
}

void GuestSession::ask(const Result<void>& queued) {
  if (!queued) listener_.on_error(queued.error());
}

}  // namespace thimble

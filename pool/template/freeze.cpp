// See freeze.h. One poll loop over the VM process, the control channel and the server's stderr.
#include "pool/template/freeze.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "devices/text.h"
#include "guest-init/protocol.h"

namespace thimble {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr size_t kChunk = size_t{16} * 1024;

// How often a server's time is prolonged on a machine that has no processor for it.
constexpr int kMostRounds = 10;
constexpr std::chrono::seconds kLastWordsPatience{1};
constexpr int kLastWordsPollMs = 100;

class Freezing {
 public:
  Freezing(VmProcess& vm, const FreezeRequest& request)
      : vm_(vm), request_(request), deadline_(Clock::now() + request.boot_limit) {}

  Result<FrozenGuest> run() {
    while (!done_) {
      if (auto served = serve_once(); !served) return std::unexpected(served.error());
    }
    return std::move(frozen_);
  }

 private:
  Result<void> serve_once() {
    const auto events = static_cast<short>(POLLIN | (control_.output().empty() ? 0 : POLLOUT));
    std::array<pollfd, 3> set{
        {{vm_.poll_fd(), POLLIN, 0}, {socket_.get(), events, 0}, {stderr_.get(), POLLIN, 0}}};
    const auto left = std::chrono::duration_cast<milliseconds>(deadline_ - Clock::now()).count();
    if (left <= 0) return fail(late());
    const int ready = ::poll(set.data(), set.size(), static_cast<int>(std::min<long>(left, 1000)));
    if (ready < 0 && errno != EINTR) return fail_errno("wait for the guest");
    if (set[2].revents != 0) pass_on_stderr();
    if (set[1].revents != 0) {
      if (auto taken = take_messages(); !taken) return taken;
    }
    if (set[0].revents != 0) {
      if (auto taken = take_vm_events(); !taken) return taken;
    }
    return send_waiting();
  }

  std::string late() const {
    return control_.state() == GuestControl::State::kFreezing
               ? "the server did not settle in time"
               : "the guest did not start the server in time";
  }

  Result<void> take_vm_events() {
    while (const auto event = vm_.next_event()) {
      switch (event->kind) {
        case VmEvent::Kind::kReady:
          if (auto connected = connect(); !connected) return connected;
          break;
        case VmEvent::Kind::kConsole:
        case VmEvent::Kind::kExposed:
        case VmEvent::Kind::kNotice:
          notice(event->text);
          break;
        case VmEvent::Kind::kSaved:  // comes after this
        case VmEvent::Kind::kUnsaved:
        case VmEvent::Kind::kPrepared:  // of shells
        case VmEvent::Kind::kPong:
        case VmEvent::Kind::kRecorded:
        case VmEvent::Kind::kUnrecorded:
          break;
        case VmEvent::Kind::kEnded:
        case VmEvent::Kind::kRefused:
          return fail(event->text);
        case VmEvent::Kind::kLost:
          return fail("the VMM process died: " + event->text);
      }
    }
    return {};
  }

  Result<void> connect() {
    if (socket_) return {};
    auto socket = vm_.connect(protocol::kControlPort);
    if (!socket) return std::unexpected(socket.error());
    socket_ = std::move(*socket);
    return {};
  }

  Result<void> take_messages() {
    std::array<uint8_t, kChunk> bytes{};
    const ssize_t n = ::recv(socket_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return {};
    if (n <= 0) return fail("the guest closed its control channel");
    control_.received(std::span(bytes).first(static_cast<size_t>(n)));
    while (const auto event = control_.next_event()) {
      if (auto done = on_event(*event); !done) return done;
    }
    return {};
  }

  Result<void> on_event(const GuestEvent& event) {
    switch (event.kind) {
      case GuestEvent::Kind::kHello:
        return control_.configure(request_.identity);
      case GuestEvent::Kind::kConfigured:
        return request_.point == FreezeRequest::Point::kReady ? start() : control_.freeze({});
      case GuestEvent::Kind::kStarted:
        // A server that has ended by now is told of by the next event.
        if (control_.state() != GuestControl::State::kRunning) return {};
        return await_settled(request_.ready_limit);
      case GuestEvent::Kind::kFrozen:
        pass_on_stderr();
        frozen_.unrenewed = event.text;
        done_ = true;
        return {};
      case GuestEvent::Kind::kFailed:
        if (const milliseconds lost = lost_time(event); lost.count() > 0) {
          return await_settled(lost);
        }
        return fail(failure(event));
      case GuestEvent::Kind::kExited:
        pass_on_last_words();
        return fail(ended(event));
      case GuestEvent::Kind::kBroken:
        return fail("the guest broke the control protocol: " + event.text);
      case GuestEvent::Kind::kNotice:
        notice("guest: " + event.text);
        return {};
      case GuestEvent::Kind::kPong:
      case GuestEvent::Kind::kThawed:
        return {};
    }
    return {};
  }

  Result<void> await_settled(milliseconds limit) {
    deadline_ = Clock::now() + limit + std::chrono::seconds(5);
    waited_ = request_.processor_wait(vm_.pid());
    ++rounds_;
    return control_.freeze(static_cast<uint32_t>(limit.count()));
  }

  // What the server did not have of the time that has passed: it gets that much more. Zero when it
  // had all of it, or has been given enough.
  milliseconds lost_time(const GuestEvent& event) const {
    if (event.step != protocol::kStepIdle || rounds_ >= kMostRounds) return {};
    const milliseconds lost = request_.processor_wait(vm_.pid()) - waited_;
    return lost < request_.ready_limit / 10 ? milliseconds() : std::min(lost, request_.ready_limit);
  }

  // Only stderr is connected: what the server says on stdout belongs to the clients of the clones.
  Result<void> start() {
    auto stream = vm_.connect(protocol::kStreamPort);
    if (!stream) return std::unexpected(stream.error());
    const protocol::StreamPreface preface{protocol::kStreamMagic, protocol::kStderr};
    if (::send(stream->get(), &preface, sizeof preface, MSG_NOSIGNAL) != sizeof preface) {
      return fail_errno("open a stream to the guest");
    }
    stderr_ = std::move(*stream);
    ServerSpec server = request_.server;
    server.detached = true;
    server.awaited_streams = 1U << protocol::kStderr;
    return control_.start(server);
  }

  static std::string failure(const GuestEvent& event) {
    std::string message = "the guest could not " + event.text;
    if (event.step == protocol::kStepIdle) return message;
    if (event.error != 0) message += text(": %s", std::strerror(static_cast<int>(event.error)));
    return message;
  }

  static std::string ended(const GuestEvent& event) {
    if (event.exit_signal) return text("the server was ended by signal %u", *event.exit_signal);
    return text("the server ended with status %u before it was ready", event.exit_code.value_or(0));
  }

  void pass_on_stderr() {
    std::array<char, kChunk> bytes{};
    while (stderr_) {
      const ssize_t n = ::recv(stderr_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
      if (n < 0) {
        if (errno != EAGAIN && errno != EINTR) stderr_.reset();
        return;
      }
      if (n == 0) stderr_.reset();
      if (n > 0 && request_.on_stderr) request_.on_stderr({bytes.data(), static_cast<size_t>(n)});
    }
  }

  // The guest ends the stream before it reports, but the two come on different sockets.
  void pass_on_last_words() {
    const auto deadline = Clock::now() + kLastWordsPatience;
    pass_on_stderr();
    while (stderr_ && Clock::now() < deadline) {
      pollfd entry{stderr_.get(), POLLIN, 0};
      ::poll(&entry, 1, kLastWordsPollMs);
      pass_on_stderr();
    }
  }

  Result<void> send_waiting() {
    const auto waiting = control_.output();
    if (!socket_ || waiting.empty()) return {};
    const ssize_t n =
        ::send(socket_.get(), waiting.data(), waiting.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) control_.sent(static_cast<size_t>(n));
    if (n < 0 && errno != EAGAIN && errno != EINTR) return fail_errno("write to the guest");
    return {};
  }

  void notice(std::string_view line) const {
    if (request_.on_notice) request_.on_notice(line);
  }

  VmProcess& vm_;
  const FreezeRequest& request_;
  Clock::time_point deadline_;
  milliseconds waited_{};  // for a processor, when the guest was asked last
  int rounds_ = 0;
  GuestControl control_;
  Fd socket_;
  Fd stderr_;
  bool done_ = false;
  FrozenGuest frozen_;
};

}  // namespace

Result<FrozenGuest> freeze_guest(VmProcess& vm, const FreezeRequest& request) {
  return Freezing(vm, request).run();
}

}  // namespace thimble

// See freeze.h. One poll loop over the guest and its server's stderr.
#include "pool/template/freeze.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "devices/text.h"
#include "guest-init/protocol.h"
#include "pool/guest/guest_session.h"

namespace thimble {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr size_t kChunk = size_t{16} * 1024;

// How often a server's time is prolonged on a machine that has no processor for it.
constexpr int kMaxRounds = 10;
constexpr std::chrono::seconds kLastWordsTimeout{1};
constexpr int kLastWordsPollMs = 100;

class Freezing {
 public:
  Freezing(VmProcess vm, const FreezeRequest& request)
      : request_(request),
        guest_(std::move(vm), {.identity = request.identity,
                               .server = std::nullopt,
                               .is_clone = false,
                               .start_limit = request.boot_limit}),
        deadline_(guest_.begun() + request.boot_limit) {}

  Result<FrozenGuest> run() {
    guest_.begin({.on_streams = nullptr,
                  .on_there = [this] { on_configured(); },
                  .on_guest = [this](const GuestEvent& event) { on_guest(event); },
                  .on_vm = [this](const VmEvent& event) { on_vm(event); },
                  .on_closed = [this] { give_up("the guest closed its control channel"); },
                  .on_error = [this](const Error& error) { give_up(error.message); }});
    while (!result_) serve_once();
    return std::move(*result_);
  }

  VmProcess take_vm() { return std::move(guest_.vm()); }

 private:
  void serve_once() {
    std::array<pollfd, GuestSession::kEntries + 1> set{};
    std::ranges::copy(guest_.entries(), set.begin());
    set.back() = {stderr_.get(), POLLIN, 0};
    const auto left = std::chrono::duration_cast<milliseconds>(deadline_ - Clock::now()).count();
    if (left <= 0) return give_up(late());
    const int ready = ::poll(set.data(), set.size(), static_cast<int>(std::min<long>(left, 1000)));
    if (ready < 0 && errno != EINTR) {
      return give_up(text("wait for the guest: %s", std::strerror(errno)));
    }
    if (set.back().revents != 0) pass_on_stderr();
    guest_.serve(std::span(set).first<GuestSession::kEntries>());
  }

  std::string late() const {
    return guest_.control().state() == GuestControl::State::kFreezing
               ? "the server did not settle in time"
               : "the guest did not start the server in time";
  }

  void on_vm(const VmEvent& event) {
    switch (event.kind) {
      case VmEvent::Kind::kConsole:
      case VmEvent::Kind::kExposed:
      case VmEvent::Kind::kNotice:
        return notice(event.text);
      case VmEvent::Kind::kReady:
      case VmEvent::Kind::kSaved:  // comes after this
      case VmEvent::Kind::kUnsaved:
      case VmEvent::Kind::kPrepared:  // of warm VMs
      case VmEvent::Kind::kPong:
      case VmEvent::Kind::kRecorded:
      case VmEvent::Kind::kUnrecorded:
        return;
      case VmEvent::Kind::kEnded:
      case VmEvent::Kind::kRefused:
        return give_up(event.text);
      case VmEvent::Kind::kLost:
        return give_up("the VMM process died: " + event.text);
    }
  }

  void on_configured() {
    const bool ready = request_.point == FreezeRequest::Point::kReady;
    ask(ready ? start() : guest_.control().freeze({}));
  }

  void on_guest(const GuestEvent& event) {
    switch (event.kind) {
      case GuestEvent::Kind::kStarted:
        // A server that has ended by now is told of by the next event.
        if (guest_.control().state() != GuestControl::State::kRunning) return;
        return await_settled(request_.ready_limit);
      case GuestEvent::Kind::kFrozen:
        pass_on_stderr();
        return finish(FrozenGuest{event.text});
      case GuestEvent::Kind::kFailed:
        if (const milliseconds lost = lost_time(event); lost.count() > 0) {
          return await_settled(lost);
        }
        return give_up(failure(event));
      case GuestEvent::Kind::kExited:
        pass_on_last_words();
        return give_up(ended(event));
      case GuestEvent::Kind::kBroken:
        return give_up("the guest broke the control protocol: " + event.text);
      case GuestEvent::Kind::kNotice:
        return notice("guest: " + event.text);
      case GuestEvent::Kind::kHello:
      case GuestEvent::Kind::kConfigured:
      case GuestEvent::Kind::kPong:
      case GuestEvent::Kind::kThawed:
        return;
    }
  }

  void await_settled(milliseconds limit) {
    deadline_ = Clock::now() + limit + std::chrono::seconds(5);
    waited_ = request_.processor_wait(guest_.vm().pid());
    ++rounds_;
    ask(guest_.control().freeze(static_cast<uint32_t>(limit.count())));
  }

  // What the server did not have of the time that has passed: it gets that much more. Zero when it
  // had all of it, or has been given enough.
  milliseconds lost_time(const GuestEvent& event) {
    if (event.step != protocol::kStepIdle || rounds_ >= kMaxRounds) return {};
    const milliseconds lost = request_.processor_wait(guest_.vm().pid()) - waited_;
    return lost < request_.ready_limit / 10 ? milliseconds() : std::min(lost, request_.ready_limit);
  }

  // Only stderr is connected: what the server says on stdout belongs to the clients of the clones.
  Result<void> start() {
    auto stream = connect_stream(guest_.vm(), protocol::kStderr);
    if (!stream) return std::unexpected(stream.error());
    stderr_ = std::move(*stream);
    ServerSpec server = request_.server;
    server.detached = true;
    server.awaited_streams = 1U << protocol::kStderr;
    return guest_.control().start(server);
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
    const auto deadline = Clock::now() + kLastWordsTimeout;
    pass_on_stderr();
    while (stderr_ && Clock::now() < deadline) {
      pollfd entry{stderr_.get(), POLLIN, 0};
      ::poll(&entry, 1, kLastWordsPollMs);
      pass_on_stderr();
    }
  }

  void ask(const Result<void>& queued) {
    if (!queued) give_up(queued.error().message);
  }

  void notice(std::string_view line) const {
    if (request_.on_notice) request_.on_notice(line);
  }

  // Only the first counts: what comes of its end is no news.
  void finish(Result<FrozenGuest> result) {
    if (!result_) result_ = std::move(result);
  }
  void give_up(std::string why) { finish(fail(std::move(why))); }

  const FreezeRequest& request_;
  GuestSession guest_;
  Clock::time_point deadline_;
  milliseconds waited_{};  // for a processor, when the guest was asked last
  int rounds_ = 0;
  Fd stderr_;
  std::optional<Result<FrozenGuest>> result_;
};

}  // namespace

Result<FrozenGuest> freeze_guest(VmProcess& vm, const FreezeRequest& request) {
  Freezing freezing(std::move(vm), request);
  auto frozen = freezing.run();
  vm = freezing.take_vm();
  return frozen;
}

}  // namespace thimble

// One client of the agent; see session.h.
#include "tools/lab-box/session.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "tools/lab-box/link.h"
#include "tools/lab-box/process.h"
#include "tools/lab-box/relay.h"
#include "tools/lab-box/streams.h"

namespace thimble::lab {
namespace {

constexpr int kHelloTimeoutMs = 10'000;
constexpr int kExitTimeoutMs = 60'000;
// After the command has ended, a child of it may hold its streams open for ever: its output is
// still taken while it keeps coming, and given up after this much silence.
constexpr int kSilenceMs = 250;
constexpr size_t kPipeWrite = size_t{64} * 1024;

// Waits for the next frame; nothing when the client is gone, silent or talks nonsense.
std::optional<Frame> await_frame(Link& link) {
  while (true) {
    auto frame = link.next();
    if (!frame) return std::nullopt;
    if (*frame) return std::move(*frame);
    pollfd wait{link.fd(), POLLIN, 0};
    if (::poll(&wait, 1, kHelloTimeoutMs) <= 0) return std::nullopt;
    const auto more = link.fill();
    if (!more || !*more) return std::nullopt;
  }
}

class CommandSession {
 public:
  CommandSession(Link& link, Process process)
      : link_(link),
        process_(std::move(process)),
        in_(kStdin, std::move(process_.standard_input), kPipeWrite),
        out_(kStdout, std::move(process_.standard_output)),
        err_(kStderr, std::move(process_.standard_error)) {}

  void run() {
    // The first frames may have come together with the request.
    bool present = handle_frames();
    while (present && !finished()) present = turn();
    if (!present) process_.kill_all();
    if (present) {
      link_.send_number(FrameType::kExit, 0, *exit_status_);
      link_.finish(kExitTimeoutMs);
    }
    process_.leave();
  }

 private:
  [[nodiscard]] bool finished() const { return exit_status_ && !out_.open() && !err_.open(); }

  // One round of waiting and moving; false when the client is gone.
  bool turn() {
    pollfd waits[] = {
        {link_.fd(), static_cast<short>(POLLIN | (link_.pending() > 0 ? POLLOUT : 0)), 0},
        {exit_status_ ? -1 : process_.ended_fd(), POLLIN, 0},
        in_.wish(),
        out_.wish(link_),
        err_.wish(link_),
    };
    const int ready = ::poll(waits, std::size(waits), exit_status_ ? kSilenceMs : -1);
    if (ready < 0) return errno == EINTR;
    if (ready == 0 && waits[3].fd >= 0) out_.stop(link_);
    if (ready == 0 && waits[4].fd >= 0) err_.stop(link_);
    if (waits[1].revents != 0) exit_status_ = process_.status();
    in_.pump(waits[2].revents, link_);
    if (waits[3].revents != 0) out_.pump(link_);
    if (waits[4].revents != 0) err_.pump(link_);
    if (waits[0].revents != 0 && !read_link()) return false;
    return link_.flush().has_value();
  }

  bool read_link() {
    const auto more = link_.fill();
    return more && *more && handle_frames();
  }

  bool handle_frames() {
    while (true) {
      auto frame = link_.next();
      if (!frame) return false;
      if (!*frame) return true;
      if (!handle(**frame)) return false;
    }
  }

  bool handle(const Frame& frame) {
    switch (frame.type) {
      case FrameType::kData:
        return in_.take(frame.payload);
      case FrameType::kEof:
        in_.take_eof();
        return true;
      case FrameType::kCredit:
        if (Outlet* outlet = output(frame.stream)) outlet->add_credit(frame.number());
        return true;
      case FrameType::kClose:
        if (Outlet* outlet = output(frame.stream)) outlet->stop(link_);
        return true;
      case FrameType::kSignal:
        process_.signal(static_cast<int>(frame.number()));
        return true;
      default:
        return false;
    }
  }

  Outlet* output(uint8_t stream) {
    if (stream == kStdout) return &out_;
    if (stream == kStderr) return &err_;
    return nullptr;
  }

  Link& link_;
  Process process_;
  Inlet in_;
  Outlet out_;
  Outlet err_;
  std::optional<uint32_t> exit_status_;
};

void refuse(Link& link, const std::string& why) {
  link.send(FrameType::kNote, 0, why);
  link.send_number(FrameType::kExit, 0, kLabFailure);
  link.finish(kHelloTimeoutMs);
}

void run_command(Link& link, const Frame& request) {
  const auto command = Command::unpack(request.payload);
  if (!command) return refuse(link, command.error().message);
  auto process = Process::start(*command);
  if (!process) return refuse(link, process.error().message);
  if (!process->note.empty()) link.send(FrameType::kNote, 0, process->note);
  CommandSession(link, std::move(*process)).run();
}

void relay_port(Link& link, const Frame& request) {
  auto listener = listen_for_relay();
  if (!listener) return refuse(link, listener.error().message);
  link.send_number(FrameType::kPort, 0, listener->port);
  if (::fork() != 0)
    return link.finish(kHelloTimeoutMs);  // the relay outlives the client who asked for it
  ::close(link.fd());
  relay(std::move(listener->socket), static_cast<uint16_t>(request.number()));
}

}  // namespace

void serve(Fd connection, const std::string& token) {
  ::signal(SIGPIPE, SIG_IGN);
  Link link(std::move(connection), kMaxHello);
  const auto hello = await_frame(link);
  if (!hello || hello->type != FrameType::kHello || hello->payload != token) return;
  link.set_limit(kMaxFrame);
  const auto request = await_frame(link);
  if (!request) return;
  if (request->type == FrameType::kExec) run_command(link, *request);
  if (request->type == FrameType::kForward) relay_port(link, *request);
}

}  // namespace thimble::lab

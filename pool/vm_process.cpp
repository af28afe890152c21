// See vm_process.h. This side: the parent. The other: vm_main.cpp.
#include "pool/vm_process.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <array>

#include "devices/text.h"
#include "pool/console_tail.h"
#include "pool/printable.h"
#include "pool/vm_main.h"

namespace thimble {

namespace {

// A line for the user, and the longest text that one end may have (registers follow the message).
constexpr size_t kLineLimit = 400;
constexpr size_t kEndLimit = 4000;

// How long a process that closed its broker may take to be gone.
constexpr std::chrono::milliseconds kDyingPatience{2000};

// Each line of `message` is made printable, so that registers stay readable.
std::string printable_lines(std::string_view message) {
  std::string out;
  for (size_t at = 0; at <= message.size();) {
    const size_t end = std::min(message.find('\n', at), message.size());
    if (!out.empty()) out += '\n';
    out += printable(message.substr(at, end - at), kEndLimit);
    at = end + 1;
  }
  return out;
}

}  // namespace

Result<std::pair<Fd, Fd>> make_stream_pair() {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail_errno("make a socket pair");
  }
  std::pair<Fd, Fd> pair{Fd(ends[0]), Fd(ends[1])};
  if (::fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) return fail_errno("make a stream non-blocking");
  return pair;
}

Result<VmProcess> VmProcess::start(VmSpec spec) {
  std::vector<int> kept;
  kept.reserve(spec.kept.size() + spec.machine.disks.size() + 1);
  for (const Fd& fd : spec.kept) kept.push_back(fd.get());
  for (const Disk& disk : spec.machine.disks) kept.push_back(disk.file.get());
  if (spec.console) kept.push_back(spec.console.get());
  const bool keep_stderr = spec.report_console;  // someone is looking
  return start([&spec](int broker) { return run_vm_process(std::move(spec), Fd(broker)); }, kept,
               keep_stderr);
}

Result<VmProcess> VmProcess::start(const Body& body, std::span<const int> kept, bool keep_stderr) {
  auto broker = make_broker();
  if (!broker) return std::unexpected(broker.error());
  const int far_end = broker->second.get();
  std::vector<int> all(kept.begin(), kept.end());
  all.push_back(far_end);
  auto child = BoundChild::start([&body, far_end] { return body(far_end); }, all, keep_stderr);
  if (!child) return std::unexpected(child.error());
  return VmProcess(std::move(*child), std::move(broker->first));
}

std::optional<VmEvent> VmProcess::next_event() {
  while (broker_) {
    auto received = receive_broker(broker_.get(), BrokerSide::kParent, /*wait=*/false);
    if (std::holds_alternative<BrokerEmpty>(received)) return std::nullopt;
    if (const auto* error = std::get_if<Error>(&received)) {
      return lost("it broke the broker's rules: " + error->message);
    }
    if (std::holds_alternative<BrokerClosed>(received)) return lost("");
    auto& message = std::get<BrokerMessage>(received);
    if (message.type != BrokerType::kTail) return take(std::move(message));
    // More would keep this loop going for as long as the process likes.
    if (tail_.size() >= ConsoleTail::kMaxLines) return lost("its console has too many last lines");
    tail_.push_back(printable(message.text, kLineLimit));
  }
  return std::nullopt;
}

VmEvent VmProcess::take(BrokerMessage message) {
  VmEvent event;
  event.text = printable(message.text, kLineLimit);
  switch (message.type) {
    case BrokerType::kReady:
      event.kind = VmEvent::Kind::kReady;
      break;
    case BrokerType::kConsole:
      event.kind = VmEvent::Kind::kConsole;
      break;
    case BrokerType::kEnded:
      return ended(message);
    case BrokerType::kRefused:
      event.kind = VmEvent::Kind::kRefused;
      broker_.reset();
      break;
    default:
      event.kind = VmEvent::Kind::kNotice;
      break;
  }
  return event;
}

VmEvent VmProcess::ended(const BrokerMessage& message) {
  const uint32_t kind = message.value & ~kBrokerPanicked;
  if (kind > static_cast<uint32_t>(End::Kind::kHostError)) {
    return lost(text("it gave an unknown end %u", message.value));
  }
  VmEvent event;
  event.kind = VmEvent::Kind::kEnded;
  event.end = static_cast<End::Kind>(kind);
  event.panicked = (message.value & kBrokerPanicked) != 0;
  event.text = printable_lines(message.text);
  broker_.reset();
  return event;
}

VmEvent VmProcess::lost(const std::string& why) {
  broker_.reset();
  const auto status = why.empty() ? child_.wait_or_kill(kDyingPatience) : child_.kill_and_reap();
  VmEvent event;
  event.kind = VmEvent::Kind::kLost;
  if (!why.empty()) {
    event.text = why;
  } else {
    event.text = status ? "it ended with " + describe_wait_status(*status) : "it is gone";
  }
  return event;
}

Result<Fd> VmProcess::connect(uint32_t port) {
  if (!broker_) return fail("connect to the guest: the VM has ended");
  auto pair = make_stream_pair();
  if (!pair) return std::unexpected(pair.error());
  if (!send_broker(broker_.get(), BrokerType::kConnect, port, "", pair->second.get())) {
    return fail_errno("pass a stream to the VMM process");
  }
  return std::move(pair->first);
}

void VmProcess::kill() {
  broker_.reset();
  child_.kill_and_reap();
}

}  // namespace thimble

// See guest_control.h. The codec is in control_codec.h; here is the order of messages.
#include "pool/guest/guest_control.h"

#include <algorithm>
#include <cstring>

#include "devices/text.h"
#include "pool/guest/control_codec.h"

namespace thimble {

using protocol::kMaxPayload;

namespace {

// Requests that wait for a guest which does not read: more than one start message fits.
constexpr size_t kMaxOutput = 4 * (kMaxPayload + sizeof(protocol::FrameHeader));

// Linux signals end here; 64 is SIGRTMAX.
constexpr uint32_t kMaxSignal = 64;

using State = GuestControl::State;
using Kind = GuestEvent::Kind;

}  // namespace

void GuestControl::received(std::span<const uint8_t> bytes) {
  while (!bytes.empty() && state_ != State::kBroken) {
    // A frame is completed before the next is looked at, so that input_ never exceeds one frame.
    size_t wanted = sizeof(protocol::FrameHeader);
    protocol::FrameHeader header{};
    if (input_.size() >= sizeof header) {
      std::memcpy(&header, input_.data(), sizeof header);
      wanted += header.length;
    }
    const size_t n = std::min(bytes.size(), wanted - input_.size());
    input_.insert(input_.end(), bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(n));
    bytes = bytes.subspan(n);
    if (input_.size() < sizeof header) return;
    std::memcpy(&header, input_.data(), sizeof header);
    if (header.length > kMaxPayload) return broken(text("a frame of %u bytes", header.length));
    if (header.zero != 0) return broken("a frame header with unknown bits");
    if (input_.size() < sizeof header + header.length) continue;
    take_frame(header.type, std::span(input_).subspan(sizeof header));
    input_.clear();
  }
}

void GuestControl::take_frame(uint16_t type, std::span<const uint8_t> payload) {
  auto event = decode_guest_message(type, payload);
  if (!event) return broken(event.error().message);
  const bool is_servers = event->process == protocol::kServerProcess;
  const auto next = is_servers ? after(*event) : std::optional(state_);
  if (!next || (!is_servers && !take_beside(*event)))
    return broken(text("a message of type %u out of turn", type));
  state_ = *next;
  events_.push_back(std::move(*event));
}

// What the guest may say in which state, and what follows; nullopt: nothing of the kind.
std::optional<GuestControl::State> GuestControl::after(const GuestEvent& event) {
  const bool said_hello = state_ != State::kConnecting;
  switch (event.kind) {
    case Kind::kHello:
      if (state_ == State::kConnecting) return after_hello(event.found);
      break;
    case Kind::kConfigured:
      if (state_ == State::kConfiguring) return configured_;
      break;
    case Kind::kStarted:
      if (state_ == State::kStarting) return State::kRunning;
      break;
    case Kind::kFrozen:
      if (state_ == State::kFreezing) return State::kFrozen;
      break;
    case Kind::kThawed:
      if (state_ == State::kThawing) return thawed_;
      break;
    case Kind::kExited:
      if (may_exit()) return State::kExited;
      break;
    case Kind::kFailed:
      // A server that does not settle is not the end of it.
      if (state_ == State::kFreezing && event.step == protocol::kStepIdle) return thawed_;
      if (said_hello) return State::kFailed;
      break;
    case Kind::kPong:
    case Kind::kNotice:
      if (said_hello) return state_;
      break;
    case Kind::kBroken:
      break;
  }
  return std::nullopt;
}

bool GuestControl::take_beside(const GuestEvent& event) {
  Beside& process = beside_.at(event.process);
  switch (event.kind) {
    case Kind::kStarted:
      if (process != Beside::kStarting) return false;
      process = Beside::kRunning;
      return true;
    case Kind::kFailed:
      if (process != Beside::kStarting) return false;
      process = Beside::kFree;
      return true;
    case Kind::kExited:
      if (process != Beside::kRunning) return false;
      process = Beside::kFree;
      return true;
    default:
      return false;
  }
}

GuestControl::State GuestControl::after_hello(protocol::GuestState found) {
  configured_ = found == protocol::kStateFresh ? State::kConfigured : State::kFrozen;
  thawed_ = found == protocol::kStateFrozenRunning ? State::kRunning : State::kConfigured;
  return found == protocol::kStateFresh ? State::kFresh : State::kFrozenClone;
}

// A server that was running can end at any time, also while it is being frozen.
bool GuestControl::may_exit() const {
  const bool between = state_ == State::kFreezing || state_ == State::kFrozen ||
                       state_ == State::kFrozenClone || state_ == State::kThawing ||
                       (state_ == State::kConfiguring && configured_ == State::kFrozen);
  return state_ == State::kRunning || (between && thawed_ == State::kRunning);
}

void GuestControl::broken(const std::string& why) {
  state_ = State::kBroken;
  input_.clear();
  GuestEvent event;
  event.kind = Kind::kBroken;
  event.text = why;
  events_.push_back(std::move(event));
}

std::optional<GuestEvent> GuestControl::next_event() {
  if (events_.empty()) return std::nullopt;
  GuestEvent event = std::move(events_.front());
  events_.pop_front();
  return event;
}

Result<void> GuestControl::queue(uint16_t type, std::vector<uint8_t> payload) {
  if (payload.size() > kMaxPayload) {
    return fail(text("%zu bytes do not fit into one message to the guest (limit %u)",
                     payload.size(), kMaxPayload));
  }
  if (output_.size() - output_sent_ + payload.size() > kMaxOutput) {
    return fail("the guest does not read its control channel");
  }
  const protocol::FrameHeader header{static_cast<uint32_t>(payload.size()), type, 0};
  const auto* bytes = reinterpret_cast<const uint8_t*>(&header);
  output_.insert(output_.end(), bytes, bytes + sizeof header);
  output_.insert(output_.end(), payload.begin(), payload.end());
  return {};
}

Result<void> GuestControl::configure(const GuestIdentity& identity) {
  if (state_ != State::kFresh && state_ != State::kFrozenClone) {
    return fail("configure the guest: not now");
  }
  auto payload = encode_identity(identity);
  if (!payload) return std::unexpected(payload.error());
  auto queued = queue(protocol::kConfigure, std::move(*payload));
  if (queued) state_ = State::kConfiguring;
  return queued;
}

Result<void> GuestControl::start(const ServerSpec& server) {
  if (state_ != State::kConfigured) return fail("start the server: not now");
  auto payload = encode_server(server, protocol::kServerProcess);
  if (!payload) return std::unexpected(payload.error());
  auto queued = queue(protocol::kStart, std::move(*payload));
  if (!queued) return fail_in("the command and its environment", queued);
  state_ = State::kStarting;
  return {};
}

Result<uint32_t> GuestControl::start_beside(const ServerSpec& process) {
  if (state_ != State::kConfigured && state_ != State::kStarting && state_ != State::kRunning) {
    return fail("start a process beside the server: not now");
  }
  const auto free = std::find(beside_.begin() + 1, beside_.end(), Beside::kFree);
  if (free == beside_.end()) {
    return fail(text("start a process beside the server: %u run already", protocol::kMaxProcesses));
  }
  const auto number = static_cast<uint32_t>(free - beside_.begin());
  auto payload = encode_server(process, number);
  if (!payload) return std::unexpected(payload.error());
  auto queued = queue(protocol::kStart, std::move(*payload));
  if (!queued) return fail_in("the command and its environment", queued);
  *free = Beside::kStarting;
  return number;
}

Result<void> GuestControl::signal_beside(uint32_t process, uint32_t number) {
  if (process == 0 || process >= beside_.size()) return fail(text("no process %u", process));
  if (number == 0 || number > kMaxSignal) return fail(text("no signal %u", number));
  if (beside_[process] == Beside::kFree) return {};
  FieldWriter fields;
  fields.add_number<uint32_t>(protocol::kTagSignal, number);
  fields.add_number<uint32_t>(protocol::kTagProcess, process);
  return queue(protocol::kSignal, fields.take());
}

Result<void> GuestControl::resize(uint32_t process, protocol::Window window) {
  if (process == 0 || process >= beside_.size()) return fail(text("no process %u", process));
  if (beside_[process] == Beside::kFree) return {};
  FieldWriter fields;
  fields.add_number<protocol::Window>(protocol::kTagTerminal, window);
  fields.add_number<uint32_t>(protocol::kTagProcess, process);
  return queue(protocol::kResize, fields.take());
}

bool GuestControl::takes_signals() const {
  return state_ == State::kStarting || state_ == State::kThawing || state_ == State::kRunning;
}

Result<void> GuestControl::signal(uint32_t number) {
  if (!takes_signals()) return fail("send a signal: the server does not run");
  if (number == 0 || number > kMaxSignal) return fail(text("no signal %u", number));
  FieldWriter fields;
  fields.add_number<uint32_t>(protocol::kTagSignal, number);
  return queue(protocol::kSignal, fields.take());
}

Result<void> GuestControl::ping(uint64_t nonce) {
  if (state_ == State::kConnecting || state_ == State::kBroken) return fail("ping: not connected");
  FieldWriter fields;
  fields.add_number<uint64_t>(protocol::kTagNonce, nonce);
  return queue(protocol::kPing, fields.take());
}

Result<void> GuestControl::end() {
  if (state_ != State::kRunning) return fail("end the server: it does not run");
  return queue(protocol::kEnd, {});
}

Result<void> GuestControl::freeze(std::optional<uint32_t> idle_limit_ms) {
  if (state_ != State::kRunning && state_ != State::kConfigured) {
    return fail("freeze the server: not now");
  }
  if (std::any_of(beside_.begin(), beside_.end(), [](Beside b) { return b != Beside::kFree; })) {
    return fail("freeze the server: processes run beside it");
  }
  FieldWriter fields;
  if (idle_limit_ms) fields.add_number<uint32_t>(protocol::kTagIdleLimit, *idle_limit_ms);
  auto queued = queue(protocol::kFreeze, fields.take());
  if (!queued) return queued;
  thawed_ = state_;
  state_ = State::kFreezing;
  return {};
}

Result<void> GuestControl::thaw(const ThawOptions& options) {
  if (state_ != State::kFrozen) return fail("thaw the server: not now");
  FieldWriter fields;
  if (options.stdin_grace_ms) {
    fields.add_number<uint32_t>(protocol::kTagStdinGrace, *options.stdin_grace_ms);
  }
  if (options.term_grace_ms) {
    fields.add_number<uint32_t>(protocol::kTagTermGrace, *options.term_grace_ms);
  }
  auto queued = queue(protocol::kThaw, fields.take());
  if (queued) state_ = State::kThawing;
  return queued;
}

Result<void> GuestControl::set_clock(uint64_t since_epoch_ns) {
  const bool known = state_ == State::kConfigured || state_ == State::kStarting ||
                     state_ == State::kRunning || state_ == State::kThawing;
  if (!known) return fail("set the guest's clock: not now");
  FieldWriter fields;
  fields.add_number<uint64_t>(protocol::kTagWallClock, since_epoch_ns);
  return queue(protocol::kSetClock, fields.take());
}

Result<void> GuestControl::power_off() {
  if (state_ == State::kConnecting || state_ == State::kBroken) {
    return fail("power off: not connected");
  }
  return queue(protocol::kPowerOff, {});
}

std::span<const uint8_t> GuestControl::output() const {
  return std::span(output_).subspan(output_sent_);
}

void GuestControl::sent(size_t count) {
  output_sent_ = std::min(output_.size(), output_sent_ + count);
  if (output_sent_ == output_.size()) {
    output_.clear();
    output_sent_ = 0;
  }
}

}  // namespace thimble

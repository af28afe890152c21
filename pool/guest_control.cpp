// See guest_control.h. The codec is in control_codec.h; here is the order of messages.
#include "pool/guest_control.h"

#include <algorithm>
#include <cstring>

#include "devices/text.h"
#include "pool/control_codec.h"

namespace thimble {

using protocol::kMaxPayload;

namespace {

// Requests that wait for a guest which does not read: more than one start message fits.
constexpr size_t kMaxOutput = 4 * (kMaxPayload + sizeof(protocol::FrameHeader));

// Linux signals end here; 64 is SIGRTMAX.
constexpr uint32_t kMaxSignal = 64;

using State = GuestControl::State;
using Kind = GuestEvent::Kind;

// What the guest may say in which state; nullopt: nothing of the kind.
std::optional<State> after(State state, Kind kind) {
  const bool greeted = state != State::kConnecting;
  switch (kind) {
    case Kind::kHello:
      if (state == State::kConnecting) return State::kGreeted;
      break;
    case Kind::kConfigured:
      if (state == State::kConfiguring) return State::kConfigured;
      break;
    case Kind::kStarted:
      if (state == State::kStarting) return State::kRunning;
      break;
    case Kind::kExited:
      if (state == State::kRunning) return State::kExited;
      break;
    case Kind::kFailed:
      if (greeted) return State::kFailed;
      break;
    case Kind::kPong:
    case Kind::kNotice:
      if (greeted) return state;
      break;
    case Kind::kBroken:
      break;
  }
  return std::nullopt;
}

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
  const auto next = after(state_, event->kind);
  if (!next) return broken(text("a message of type %u out of turn", type));
  state_ = *next;
  events_.push_back(std::move(*event));
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
  if (state_ != State::kGreeted) return fail("configure the guest: not now");
  auto payload = encode_identity(identity);
  if (!payload) return std::unexpected(payload.error());
  auto queued = queue(protocol::kConfigure, std::move(*payload));
  if (queued) state_ = State::kConfiguring;
  return queued;
}

Result<void> GuestControl::start(const ServerSpec& server) {
  if (state_ != State::kConfigured) return fail("start the server: not now");
  auto payload = encode_server(server);
  if (!payload) return std::unexpected(payload.error());
  auto queued = queue(protocol::kStart, std::move(*payload));
  if (!queued) return fail_in("the command and its environment", queued);
  state_ = State::kStarting;
  return {};
}

Result<void> GuestControl::signal(uint32_t number) {
  if (state_ != State::kRunning) return fail("send a signal: the server does not run");
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

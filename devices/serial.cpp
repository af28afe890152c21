// The 16550A's registers; see serial.h.
#include "devices/serial.h"

#include <algorithm>
#include <utility>

namespace thimble {

namespace {

constexpr uint8_t kDivisorLatch = 0x80;  // LCR
constexpr uint8_t kLoopback = 0x10;      // MCR
constexpr uint8_t kRequestToSend = 0x02;

// So many reads of LSR that find nothing, with nothing sent in between, are those of a guest that
// waits for input.
constexpr unsigned kPollsOfAListener = 64;

constexpr uint8_t kEnableReceived = 0x01;  // IER
constexpr uint8_t kEnableTransmit = 0x02;

constexpr uint8_t kNoInterrupt = 0x01;  // IIR
constexpr uint8_t kTransmitEmpty = 0x02;
constexpr uint8_t kReceivedData = 0x04;
constexpr uint8_t kFifosEnabled = 0xc0;

constexpr uint8_t kDataReady = 0x01;        // LSR
constexpr uint8_t kTransmitterIdle = 0x60;  // THR and shift register empty
constexpr uint8_t kModemReady = 0xb0;       // MSR: carrier, data set ready, clear to send

}  // namespace

void SerialState::describe(StateVisitor& visitor) {
  visitor.field("interrupt_enable", interrupt_enable);
  visitor.field("line_control", line_control);
  visitor.field("modem_control", modem_control);
  visitor.field("scratch", scratch);
  visitor.field("fifo_control", fifo_control);
  visitor.field("divisor", divisor);
  visitor.field("transmit_interrupt", transmit_interrupt);
  visitor.field("received", received, kMaxReceived);
  visitor.field("to_send", to_send, kMaxToSend);
}

bool SerialState::valid() const {
  return interrupt_enable <= 0x0f && transmit_interrupt <= 1 && received.size() <= kMaxReceived &&
         to_send.size() <= kMaxToSend;
}

Serial::Serial(EventLoop& loop, IrqLine& irq, Output output, std::function<void()> on_room)
    : loop_(loop), irq_(irq), output_(std::move(output)), on_room_(std::move(on_room)) {}

void Serial::read(uint64_t offset, std::span<uint8_t> data) {
  if (data.size() != 1) return;
  const std::scoped_lock guard(lock_);
  data[0] = read_register(offset);
}

void Serial::write(uint64_t offset, std::span<const uint8_t> data) {
  if (data.size() != 1) return;
  const std::scoped_lock guard(lock_);
  write_register(offset, data[0]);
}

uint8_t Serial::read_register(uint64_t offset) {
  const bool latch = (state_.line_control & kDivisorLatch) != 0;
  switch (offset) {
    case 0:
      return latch ? static_cast<uint8_t>(state_.divisor) : receive();
    case 1:
      return latch ? static_cast<uint8_t>(state_.divisor >> 8) : state_.interrupt_enable;
    case 2:
      return interrupt_identity();
    case 3:
      return state_.line_control;
    case 4:
      return state_.modem_control;
    case 5:
      note_poll();
      return line_status();
    case 6:
      // In loopback the modem outputs come back as inputs; drivers probe for a UART this way.
      if ((state_.modem_control & kLoopback) == 0) return kModemReady;
      return static_cast<uint8_t>(((state_.modem_control & 0x01) << 5) |
                                  ((state_.modem_control & 0x02) << 3) |
                                  ((state_.modem_control & 0x0c) << 4));
    default:
      return state_.scratch;
  }
}

void Serial::write_register(uint64_t offset, uint8_t value) {
  polls_ = 0;
  const bool latch = (state_.line_control & kDivisorLatch) != 0;
  switch (offset) {
    case 0:
      if (latch) {
        state_.divisor = static_cast<uint16_t>((state_.divisor & 0xff00) | value);
      } else {
        transmit(value);
      }
      return;
    case 1:
      if (latch) {
        state_.divisor = static_cast<uint16_t>((state_.divisor & 0x00ff) | (value << 8));
        return;
      }
      // Enabling the transmit interrupt while the transmitter is empty reports at once.
      if ((value & ~state_.interrupt_enable & kEnableTransmit) != 0) state_.transmit_interrupt = 1;
      state_.interrupt_enable = value & 0x0f;
      follow_listener();
      raise_if_pending();
      return;
    case 2:
      state_.fifo_control = value;
      if ((value & 0x02) != 0) state_.received.clear();
      refill_soon();
      return;
    case 3:
      state_.line_control = value;
      return;
    case 4:
      state_.modem_control = value & 0x1f;
      if ((value & kRequestToSend) != 0) used_rts_ = true;
      follow_listener();
      raise_if_pending();
      return;
    case 7:
      state_.scratch = value;
      return;
    default:
      return;  // LSR and MSR are read-only
  }
}

void Serial::transmit(uint8_t byte) {
  if ((state_.modem_control & kLoopback) != 0) {
    const size_t waits = state_.received.size() + line_.size();
    if (waits < SerialState::kMaxReceived) state_.received.push_back(byte);
    raise_if_pending();
    return;
  }
  if (state_.to_send.size() < SerialState::kMaxToSend) state_.to_send.push_back(byte);
  if (!std::exchange(flush_posted_, true)) loop_.post([this] { flush(); });
  // While there is room the byte is as good as sent, so the transmitter is empty again.
  if (state_.to_send.size() < SerialState::kMaxToSend) {
    state_.transmit_interrupt = 1;
    raise_if_pending();
  }
}

uint8_t Serial::line_status() const {
  uint8_t status = 0;
  if (!state_.received.empty()) status |= kDataReady;
  if (state_.to_send.size() < SerialState::kMaxToSend) status |= kTransmitterIdle;
  return status;
}

uint8_t Serial::interrupt_identity() {
  const uint8_t fifos = (state_.fifo_control & 0x01) != 0 ? kFifosEnabled : 0;
  if ((state_.interrupt_enable & kEnableReceived) != 0 && !state_.received.empty()) {
    return kReceivedData | fifos;
  }
  if ((state_.interrupt_enable & kEnableTransmit) != 0 && state_.transmit_interrupt != 0) {
    state_.transmit_interrupt = 0;  // reading IIR acknowledges it
    return kTransmitEmpty | fifos;
  }
  return kNoInterrupt | fifos;
}

void Serial::raise_if_pending() {
  const bool received =
      (state_.interrupt_enable & kEnableReceived) != 0 && !state_.received.empty();
  const bool sent =
      (state_.interrupt_enable & kEnableTransmit) != 0 && state_.transmit_interrupt != 0;
  if (received || sent) irq_.pulse();
}

// ---- what is typed

size_t Serial::type(std::string_view bytes) {
  const std::scoped_lock guard(lock_);
  const size_t waits = state_.received.size() + line_.size();
  const size_t taken = std::min(bytes.size(), SerialState::kMaxReceived - waits);
  line_.append({reinterpret_cast<const uint8_t*>(bytes.data()), taken});
  if (taken < bytes.size()) typist_waits_ = true;
  if (state_.received.empty()) fill_fifo();
  raise_if_pending();
  return taken;
}

uint8_t Serial::receive() {
  if (state_.received.empty()) return 0;
  const uint8_t byte = state_.received.front();
  state_.received.erase(state_.received.begin());
  polls_ = 0;
  if (state_.received.empty()) refill_soon();
  raise_if_pending();
  return byte;
}

// In loopback the line is cut off.
bool Serial::listens() const {
  if ((state_.modem_control & kLoopback) != 0) return false;
  if ((state_.modem_control & kRequestToSend) != 0 || polls_ >= kPollsOfAListener) return true;
  return !used_rts_ && (state_.interrupt_enable & kEnableReceived) != 0;
}

// One that stops listening has not read what is in the FIFO: a driver looks for the port by
// enabling all of its interrupts for a moment, and clears the FIFO next.
void Serial::follow_listener() {
  if (listens()) return fill_fifo();
  if (state_.received.empty()) return;
  ByteRing line;
  line.append(std::exchange(state_.received, {}));
  for (const iovec& piece : line_.pieces()) {
    line.append({static_cast<const uint8_t*>(piece.iov_base), piece.iov_len});
  }
  line_ = std::move(line);
}

void Serial::note_poll() {
  if (!state_.received.empty() || polls_ >= kPollsOfAListener) return;
  if (++polls_ < kPollsOfAListener) return;
  fill_fifo();
}

void Serial::fill_fifo() {
  if (!listens()) return;
  while (state_.received.size() < kFifo && !line_.empty()) {
    const iovec piece = line_.pieces()[0];
    const auto* bytes = static_cast<const uint8_t*>(piece.iov_base);
    const size_t count = std::min(piece.iov_len, kFifo - state_.received.size());
    state_.received.insert(state_.received.end(), bytes, bytes + count);
    line_.consume(count);
  }
}

void Serial::refill_soon() {
  if (line_.empty() && !typist_waits_) return;
  if (!std::exchange(refill_posted_, true)) loop_.post([this] { refill(); });
}

// The typist is called when half of the room is free: not for each byte.
void Serial::refill() {
  bool room = false;
  {
    const std::scoped_lock guard(lock_);
    refill_posted_ = false;
    fill_fifo();
    raise_if_pending();
    room = line_.size() <= SerialState::kMaxReceived / 2 && std::exchange(typist_waits_, false);
  }
  if (room && on_room_) on_room_();
}

// ---- what is printed

void Serial::flush() {
  std::vector<uint8_t> bytes;
  {
    const std::scoped_lock guard(lock_);
    flush_posted_ = false;
    const bool was_full = state_.to_send.size() >= SerialState::kMaxToSend;
    bytes.swap(state_.to_send);
    if (was_full) {
      state_.transmit_interrupt = 1;
      raise_if_pending();
    }
  }
  if (!bytes.empty() && output_) output_(bytes);
}

// ---- snapshots

SerialState Serial::save() {
  const std::scoped_lock guard(lock_);
  SerialState all = state_;
  for (const iovec& piece : line_.pieces()) {
    const auto* bytes = static_cast<const uint8_t*>(piece.iov_base);
    all.received.insert(all.received.end(), bytes, bytes + piece.iov_len);
  }
  return all;
}

Result<void> Serial::restore(const SerialState& state) {
  if (!state.valid()) return fail("serial port: saved state is not valid");
  const std::scoped_lock guard(lock_);
  state_ = state;
  used_rts_ = (state.modem_control & kRequestToSend) != 0;
  const size_t fifo = std::min(kFifo, state.received.size());
  line_.clear();
  line_.append(std::span(state.received).subspan(fifo));
  state_.received.resize(fifo);
  raise_if_pending();
  if (!state_.to_send.empty() && !std::exchange(flush_posted_, true)) {
    loop_.post([this] { flush(); });
  }
  return {};
}

}  // namespace thimble

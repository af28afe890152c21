// Redirection entries and the messages they stand for; see ioapic.h.
#include "devices/ioapic.h"

#include <cstring>

namespace thimble {

namespace {

constexpr uint64_t kSelectRegister = 0x00;
constexpr uint64_t kWindowRegister = 0x10;

constexpr uint32_t kIdIndex = 0x00;
constexpr uint32_t kVersionIndex = 0x01;
constexpr uint32_t kArbitrationIndex = 0x02;
constexpr uint32_t kFirstRedirection = 0x10;
constexpr uint32_t kVersion = 0x11 | ((kIoApicPins - 1) << 16);
constexpr uint32_t kIdMask = 0x0f000000;

constexpr uint64_t kMasked = 1ULL << 16;
constexpr uint64_t kLevel = 1ULL << 15;
constexpr uint64_t kRemoteIrr = 1ULL << 14;
constexpr uint64_t kReadOnly = kRemoteIrr | (1ULL << 12);

InterruptMessage message_of(uint64_t entry) {
  const uint64_t destination = entry >> 56;
  const uint64_t logical = (entry >> 11) & 1;
  const auto vector = static_cast<uint32_t>(entry & 0xff);
  const auto delivery_mode = static_cast<uint32_t>((entry >> 8) & 7);
  const uint32_t level = (entry & kLevel) != 0 ? 1 : 0;
  return {.address = 0xfee00000 | (destination << 12) | (logical << 2),
          .data = vector | (delivery_mode << 8) | (1U << 14) | (level << 15)};
}

}  // namespace

void IoApicState::describe(StateVisitor& visitor) {
  visitor.field("id", id);
  visitor.field("select", select);
  for (uint64_t& entry : redirection) visitor.field("redirection", entry);
}

IoApic::IoApic(MessageRoutes& routes) : routes_(routes) { state_.redirection.fill(kMasked); }

void IoApic::read(uint64_t offset, std::span<uint8_t> data) {
  if (data.size() != sizeof(uint32_t)) return;
  const std::scoped_lock guard(lock_);
  uint32_t value = 0;
  if (offset == kSelectRegister) value = state_.select;
  if (offset == kWindowRegister) value = read_window();
  std::memcpy(data.data(), &value, sizeof(value));
}

void IoApic::write(uint64_t offset, std::span<const uint8_t> data) {
  if (data.size() != sizeof(uint32_t)) return;
  uint32_t value = 0;
  std::memcpy(&value, data.data(), sizeof(value));
  const std::scoped_lock guard(lock_);
  if (offset == kSelectRegister) state_.select = value & 0xff;
  if (offset == kWindowRegister) write_window(value);
}

uint32_t IoApic::read_window() const {
  if (state_.select == kIdIndex || state_.select == kArbitrationIndex) return state_.id;
  if (state_.select == kVersionIndex) return kVersion;
  const uint32_t half = state_.select - kFirstRedirection;
  if (state_.select < kFirstRedirection || half / 2 >= kIoApicPins) return 0;
  return static_cast<uint32_t>(state_.redirection[half / 2] >> (half % 2 == 0 ? 0 : 32));
}

void IoApic::write_window(uint32_t value) {
  if (state_.select == kIdIndex) state_.id = value & kIdMask;
  const uint32_t half = state_.select - kFirstRedirection;
  if (state_.select < kFirstRedirection || half / 2 >= kIoApicPins) return;
  uint64_t& entry = state_.redirection[half / 2];
  if (half % 2 == 0) {
    entry = (entry & (0xffffffff00000000ULL | kReadOnly)) | (value & ~kReadOnly);
    if ((entry & kLevel) == 0) entry &= ~kRemoteIrr;
  } else {
    entry = (entry & 0xffffffffULL) | (static_cast<uint64_t>(value) << 32);
  }
  apply(half / 2);
}

void IoApic::apply(unsigned pin) {
  const uint64_t entry = state_.redirection[pin];
  if ((entry & kMasked) != 0) {
    routes_.mask(pin);
  } else {
    routes_.route(pin, message_of(entry));
  }
}

void IoApic::end_of_interrupt(uint8_t vector) {
  const std::scoped_lock guard(lock_);
  for (uint64_t& entry : state_.redirection) {
    if ((entry & 0xff) == vector && (entry & kLevel) != 0) entry &= ~kRemoteIrr;
  }
}

IoApicState IoApic::save() {
  const std::scoped_lock guard(lock_);
  return state_;
}

void IoApic::restore(const IoApicState& state) {
  const std::scoped_lock guard(lock_);
  state_ = state;
  state_.id &= kIdMask;
  state_.select &= 0xff;
  for (unsigned pin = 0; pin < kIoApicPins; ++pin) apply(pin);
}

}  // namespace thimble

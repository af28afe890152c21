// The I/O APIC: 24 pins, each with a redirection entry that says which interrupt message goes to
// which local APIC (Intel 82093AA data sheet, section 3). The local APICs are in the kernel (split
// irqchip); this one is ours because tearing down KVM's costs a grace period per VM.
//
//   0x00  IOREGSEL  which register the window shows
//   0x10  IOWIN     the window
//
//   register 0x00 id, 0x01 version and number of pins, 0x02 arbitration
//            0x10 + 2n, 0x11 + 2n: redirection entry n, low and high half:
//              bits 0-7 vector, 8-10 delivery mode, 11 destination mode, 12 delivery status,
//              13 polarity, 14 remote IRR, 15 level-triggered, 16 masked, 56-63 destination
//
// A pin's edge is delivered as a message (MSI). The device does not deliver itself: it tells the
// MessageRoutes where each pin leads.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>

#include "devices/bus.h"
#include "devices/state.h"

namespace thimble {

constexpr unsigned kIoApicPins = 24;

// An interrupt message as the CPUs take it (Intel SDM 3A, 11.11).
struct InterruptMessage {
  uint64_t address = 0;
  uint32_t data = 0;
  bool operator==(const InterruptMessage&) const = default;
};

class MessageRoutes {
 public:
  virtual ~MessageRoutes() = default;
  // Pin `pin` now sends `message`. Called with the IOAPIC's lock held, on the writing vCPU's
  // thread.
  virtual void route(unsigned pin, const InterruptMessage& message) = 0;
  // Pin `pin` is masked: its edges are lost until route() is called again.
  virtual void mask(unsigned pin) = 0;
};

struct IoApicState {
  uint32_t id = 0;
  uint32_t select = 0;
  std::array<uint64_t, kIoApicPins> redirection{};  // raw entries
  void describe(StateVisitor& visitor);
};

class IoApic final : public BusDevice {
 public:
  static constexpr uint64_t kBase = 0xfec00000;
  static constexpr uint64_t kSize = 0x1000;

  explicit IoApic(MessageRoutes& routes);

  void read(uint64_t offset, std::span<uint8_t> data) override;
  void write(uint64_t offset, std::span<const uint8_t> data) override;

  // A CPU ended the interrupt `vector` of a level-triggered pin.
  void end_of_interrupt(uint8_t vector);

  IoApicState save();
  void restore(const IoApicState& state);

 private:
  [[nodiscard]] uint32_t read_window() const;
  void write_window(uint32_t value);
  void apply(unsigned pin);

  MessageRoutes& routes_;
  std::mutex lock_;
  IoApicState state_;
};

}  // namespace thimble

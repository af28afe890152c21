// A 16550A UART at the eight ports of COM1: the guest's console.
//
//   offset  read            write            with DLAB set
//   0       RBR received    THR to send      divisor low
//   1       IER             IER              divisor high
//   2       IIR             FCR
//   3       LCR             LCR  (bit 7: DLAB)
//   4       MCR             MCR  (bit 4: loopback)
//   5       LSR
//   6       MSR
//   7       SCR             SCR
//
// Both directions are bounded queues between the vCPU threads and the event loop. When the guest
// writes faster than the host takes the bytes, LSR stops saying "transmitter empty", as a slow line
// would; a guest that writes all the same loses those bytes. The vCPU is never blocked.
// (National Semiconductor PC16550D data sheet, section 8.)
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

#include "devices/bus.h"
#include "devices/event_loop.h"
#include "devices/irq_line.h"
#include "devices/state.h"

namespace thimble {

struct SerialState {
  static constexpr size_t kMaxReceived = 4096;       // bytes typed and not yet read by the guest
  static constexpr size_t kMaxToSend = 64UL * 1024;  // bytes written and not yet taken by the host

  uint8_t interrupt_enable = 0;
  uint8_t line_control = 0x03;  // 8 data bits, no parity, one stop bit
  uint8_t modem_control = 0x08;
  uint8_t scratch = 0;
  uint8_t fifo_control = 0;
  uint16_t divisor = 12;           // 9600 baud
  uint8_t transmit_interrupt = 0;  // "transmitter empty" waits to be reported by IIR
  std::vector<uint8_t> received;   // in order
  std::vector<uint8_t> to_send;

  void describe(StateVisitor& visitor);
  [[nodiscard]] bool valid() const;
};

class Serial final : public BusDevice {
 public:
  static constexpr uint64_t kPort = 0x3f8;
  static constexpr uint64_t kSize = 8;
  using Output = std::function<void(std::span<const uint8_t>)>;

  // `output` is called on the event loop's thread.
  Serial(EventLoop& loop, IrqLine& irq, Output output);

  // From vCPU threads.
  void read(uint64_t offset, std::span<uint8_t> data) override;
  void write(uint64_t offset, std::span<const uint8_t> data) override;

  // Bytes typed at the guest's terminal; what does not fit is dropped. From any thread.
  void type(std::string_view bytes);

  // Hands what the guest wrote to `output`. On the loop's thread; also once after the vCPUs
  // stopped, so that a guest's last words are not lost.
  void flush();

  SerialState save();
  Result<void> restore(const SerialState& state);

 private:
  [[nodiscard]] uint8_t read_register(uint64_t offset);
  void write_register(uint64_t offset, uint8_t value);
  void transmit(uint8_t byte);
  [[nodiscard]] uint8_t interrupt_identity();
  [[nodiscard]] uint8_t line_status() const;
  void raise_if_pending();

  EventLoop& loop_;
  IrqLine& irq_;
  Output output_;
  std::mutex lock_;  // guards state_ and flush_posted_
  SerialState state_;
  bool flush_posted_ = false;
};

}  // namespace thimble

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
//
// What is typed is never lost: type() takes what there is room for, and says when there is more.
//
//   type()  -->  the line, 4 KiB  -->  receive FIFO, 16 bytes  -->  RBR
//
// The FIFO is filled anew on the event loop once the guest has emptied it, so that a driver's
// interrupt handler comes to an end however much waits. The line is held while nobody listens: a
// driver that sets up the port clears the FIFO and reads RBR to see whether it is empty. A guest
// listens that asserts RTS, has enabled the receive interrupt, or polls LSR; one that drops RTS
// again (crtscts) holds the line.
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
#include "devices/vsock/byte_ring.h"

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
  std::vector<uint8_t> received;   // in order; in a saved state all that waits, FIFO and line
  std::vector<uint8_t> to_send;

  void describe(StateVisitor& visitor);
  [[nodiscard]] bool valid() const;
};

class Serial final : public BusDevice {
 public:
  static constexpr uint64_t kPort = 0x3f8;
  static constexpr uint64_t kSize = 8;
  static constexpr size_t kFifo = 16;
  using Output = std::function<void(std::span<const uint8_t>)>;

  // Both are called on the event loop's thread: `output` with what the guest has written,
  // `on_room`, which may be none, when type() did not take everything and would take more now.
  Serial(EventLoop& loop, IrqLine& irq, Output output, std::function<void()> on_room = nullptr);

  // From vCPU threads.
  void read(uint64_t offset, std::span<uint8_t> data) override;
  void write(uint64_t offset, std::span<const uint8_t> data) override;

  // Bytes typed at the guest's terminal. How many of them were taken, from the first on; the others
  // are to be typed again when there is room. From any thread.
  size_t type(std::string_view bytes);

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
  [[nodiscard]] uint8_t receive();
  [[nodiscard]] bool listens() const;
  void follow_listener();
  void note_poll();
  void fill_fifo();
  void refill_soon();
  void refill();

  EventLoop& loop_;
  IrqLine& irq_;
  Output output_;
  std::function<void()> on_room_;
  std::mutex lock_;    // guards everything below
  SerialState state_;  // `received` is the FIFO
  ByteRing line_;      // with the FIFO never more than kMaxReceived
  bool typist_waits_ = false;
  bool used_rts_ = false;  // since when RTS alone says whether the guest listens
  unsigned polls_ = 0;     // of LSR, one after another
  bool flush_posted_ = false;
  bool refill_posted_ = false;
};

}  // namespace thimble

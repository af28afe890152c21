// A vsock driver for payload guests. The guest's address is 3.
#pragma once

#include "virtio.h"

namespace payload {

enum VsockOp : uint16_t {
  kRequest = 1,
  kResponse = 2,
  kReset = 3,
  kShutdown = 4,
  kData = 5,
  kCreditUpdate = 6,
};

struct [[gnu::packed]] VsockHeader {
  uint64_t src_cid;
  uint64_t dst_cid;
  uint32_t src_port;
  uint32_t dst_port;
  uint32_t len;
  uint16_t type;
  uint16_t op;
  uint32_t flags;
  uint32_t buf_alloc;
  uint32_t fwd_cnt;
};
static_assert(sizeof(VsockHeader) == 44);

class Vsock {
 public:
  static constexpr uint32_t kHostPort = 80;

  explicit Vsock(uint32_t slot = 0) : device(slot) {}

  void start() {
    device.agree();
    rx_ = device.open(0);
    tx_ = device.open(1);
    events_ = device.open(2);
    device.go();
    for (uint16_t i = 0; i < rx_.size; ++i) give(i);
    device.notify(0);
  }

  // Room for one event. The device has one only: its streams have ended, as after a restore.
  // Nothing is received then until it has room for the next.
  void give_event() {
    events_.set(0, {kEvent, 4, kWrite, 0});
    events_.make_available(0);
    device.notify(2);
  }
  [[nodiscard]] uint16_t events_came() const { return load<uint16_t>(events_.used + 2); }

  // A packet from guest port `port` to the host's port, with payload from anywhere.
  void send(uint32_t port, VsockOp op, uint32_t len = 0, uint32_t real = 0, uint32_t fwd = 0,
            uint32_t alloc = 0x10000) {
    post(port, op, len, real, fwd, alloc);
    check(wait_until([&] { return all_taken(); }), "a packet is taken");
  }
  [[nodiscard]] bool all_taken() const { return load<uint16_t>(tx_.used + 2) == tx_.next; }

  // The same without waiting for the device.
  void post(uint32_t port, VsockOp op, uint32_t len = 0, uint32_t real = 0, uint32_t fwd = 0,
            uint32_t alloc = 0x10000) {
    const uint16_t n = tx_.next % 64;
    const uint64_t header = kTx + n * 64UL;
    store<uint64_t>(header, 3);
    store<uint64_t>(header + 8, 2);
    store<uint32_t>(header + 16, port);
    store<uint32_t>(header + 20, kHostPort);
    store<uint32_t>(header + 24, len);
    store<uint16_t>(header + 28, 1);
    store<uint16_t>(header + 30, op);
    store<uint32_t>(header + 32, 0);
    store<uint32_t>(header + 36, alloc);
    store<uint32_t>(header + 40, fwd);
    const auto first = static_cast<uint16_t>(2 * n);
    const auto second = static_cast<uint16_t>(first + 1);
    ring_set(first, {header, 44, static_cast<uint16_t>(real != 0 ? kNext : 0), second});
    ring_set(second, {kFree + 0x800000, real, 0, 0});
    tx_.make_available(first);
    device.notify(1);
  }

  // The next packet's operation and guest port; false when none comes.
  bool receive(uint16_t& op, uint32_t& port) {
    if (!wait_until([&] { return rx_.has_used(); })) return false;
    const auto id = static_cast<uint16_t>(load<uint32_t>(rx_.used + 4 + rx_.seen % rx_.size * 8UL));
    rx_.take_used();
    const uint64_t packet = kRx + id * 0x1000UL;
    op = load<uint16_t>(packet + 30);
    port = load<uint32_t>(packet + 20);
    give(id);
    device.notify(0);
    return true;
  }
  // The answer for this port: its operation, 0 when none comes.
  uint16_t answer(uint32_t port) {
    uint16_t op = 0;
    uint32_t of = 0;
    while (receive(op, of)) {
      if (of == port && op != kCreditUpdate) return op;
    }
    return 0;
  }

  Device device;

 private:
  static constexpr uint64_t kRx = kFree + 0x400000;
  static constexpr uint64_t kTx = kFree + 0x600000;
  static constexpr uint64_t kEvent = kFree + 0x700000;

  void ring_set(uint16_t index, const Descriptor& descriptor) const { tx_.set(index, descriptor); }
  void give(uint16_t index) {
    rx_.set(index, {kRx + index * 0x1000UL, 0x1000, kWrite, 0});
    rx_.make_available(index);
  }

  Ring rx_;
  Ring tx_;
  Ring events_;
};

}  // namespace payload

// A guest's vsock driver for unit tests: sends any packet it is told to, keeps as many receive
// buffers as it is told to, and remembers what came. Honest flow control is GuestStream's.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "devices/vsock/vsock.h"
#include "tests/unit/devices/fake_guest.h"

namespace thimble::fake {

constexpr uint64_t kGuestCid = 3;

// Both ends of a connected AF_UNIX stream; the second is for the test, nonblocking.
struct StreamPair {
  StreamPair() {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) std::abort();
    device.reset(ends[0]);
    host.reset(ends[1]);
  }
  Fd device;
  Fd host;
};

inline void write_all(int fd, std::string_view bytes) {
  if (::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(bytes.size())) {
    std::abort();
  }
}

// What can be read now; `*ended` tells whether the end (or a reset) was reached.
inline std::string read_now(int fd, bool* ended = nullptr) {
  std::string all;
  char bytes[65536];
  for (;;) {
    const ssize_t got = ::recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
    if (ended != nullptr) *ended = got == 0 || (got < 0 && errno == ECONNRESET);
    if (got <= 0) return all;
    all.append(bytes, static_cast<size_t>(got));
  }
}

inline bool at_end(int fd) {
  bool ended = false;
  read_now(fd, &ended);
  return ended;
}

struct Packet {
  VsockHeader header;
  std::string payload;
};

class VsockDriver {
 public:
  explicit VsockDriver(VsockLimits limits = {}, bool event_idx = false)
      : device(kGuestCid, loop, limits), transport(guest, device.queue_sizes()) {
    if (event_idx) {
      for (size_t i = 0; i < 3; ++i) transport.drivers[i].enable(transport.queues[i], true);
    }
    for (Gpa& slot : tx_slots_) slot = guest.allocate(kTxBytes);
  }

  void activate() {
    const std::scoped_lock guard(device.lock());
    device.activate(transport, 0);
  }
  void reset() {
    const std::scoped_lock guard(device.lock());
    device.reset();
  }
  void notify(size_t queue) {
    const std::scoped_lock guard(device.lock());
    device.notify(queue);
  }
  // The driver is up, with receive buffers of a page each.
  void start(int buffers = 32, uint32_t size = 4096 + sizeof(VsockHeader)) {
    activate();
    give_buffers(buffers, size);
    loop.turn_until_idle();
  }

  void give_buffers(int count, uint32_t size = 4096 + sizeof(VsockHeader)) {
    for (int i = 0; i < count; ++i) add_buffer(guest.allocate(size), size);
    notify(0);
  }

  // One packet, honest as far as the arguments are.
  void send(VsockHeader header, std::string_view payload = {}) {
    header.len = static_cast<uint32_t>(payload.size());
    send_raw(header, payload);
  }
  // The header as it stands. Waits until the device took it.
  void send_raw(const VsockHeader& header, std::string_view payload = {}) {
    const Gpa slot = tx_slots_[next_slot_++ % tx_slots_.size()];
    std::memcpy(guest.memory.at(slot, sizeof(header)), &header, sizeof(header));
    auto& queue = transport.drivers[1];
    if (payload.empty()) {
      queue.add({{slot, sizeof(header)}});
    } else {
      std::memcpy(guest.memory.at(slot + sizeof(header), payload.size()), payload.data(),
                  payload.size());
      queue.add(
          {{slot, sizeof(header)}, {slot + sizeof(header), static_cast<uint32_t>(payload.size())}});
    }
    notify(1);
    while (!queue.take_used()) {
      if (loop.turn() == 0) return;  // the device does not take it
    }
  }

  // Everything that came, with the buffers given back (unless `keep`).
  std::vector<Packet> receive(bool keep = false) {
    loop.turn_until_idle();
    std::vector<Packet> packets;
    auto& queue = transport.drivers[0];
    while (const auto used = queue.take_used()) {
      const auto [gpa, size] = buffers_.at(static_cast<uint16_t>(used->id));
      buffers_.erase(static_cast<uint16_t>(used->id));
      if (used->length >= sizeof(VsockHeader)) {
        Packet packet;
        std::memcpy(&packet.header, guest.memory.at(gpa, size), sizeof(VsockHeader));
        const auto bytes = guest.bytes(gpa + sizeof(VsockHeader), packet.header.len);
        packet.payload.assign(bytes.begin(), bytes.end());
        packets.push_back(std::move(packet));
      } else {
        ++empty_returns;
      }
      if (!keep) add_buffer(gpa, size);
    }
    if (!keep && !packets.empty()) notify(0);
    return packets;
  }

  // All that comes until nothing more does.
  std::vector<Packet> receive_all() {
    std::vector<Packet> all;
    for (;;) {
      auto some = receive();
      if (some.empty()) return all;
      std::move(some.begin(), some.end(), std::back_inserter(all));
    }
  }

  // A packet of this guest to the host, with plenty of credit.
  static VsockHeader packet(VsockOp op, uint32_t guest_port, uint32_t host_port) {
    return {.src_cid = kGuestCid,
            .dst_cid = kHostCid,
            .src_port = guest_port,
            .dst_port = host_port,
            .op = op,
            .buf_alloc = 1U << 20};
  }

  // Opens a stream that the host began; returns the host port, 0 when no request came.
  uint32_t answer_request(uint32_t buf_alloc = 1U << 20) {
    for (const Packet& came : receive_all()) {
      if (came.header.op != VsockOp::kRequest) continue;
      auto response = packet(VsockOp::kResponse, came.header.dst_port, came.header.src_port);
      response.buf_alloc = buf_alloc;
      send(response);
      return came.header.src_port;
    }
    return 0;
  }

  Loop loop;
  Guest guest;
  VsockDevice device;
  Transport transport;
  int empty_returns = 0;

 private:
  static constexpr uint64_t kTxBytes = sizeof(VsockHeader) + 65536;
  void add_buffer(Gpa gpa, uint32_t size) {
    buffers_[transport.drivers[0].add({{gpa, size, true}})] = {gpa, size};
  }
  std::array<Gpa, 2> tx_slots_{};
  size_t next_slot_ = 0;
  std::map<uint16_t, std::pair<Gpa, uint32_t>> buffers_;
};

inline std::vector<VsockOp> ops(const std::vector<Packet>& packets) {
  std::vector<VsockOp> result;
  for (const Packet& packet : packets) result.push_back(packet.header.op);
  return result;
}

inline std::string payloads(const std::vector<Packet>& packets) {
  std::string all;
  for (const Packet& packet : packets) all += packet.payload;
  return all;
}

}  // namespace thimble::fake

// One vsock stream: a port of the guest joined with a host socket.
//
//   host socket  --- read when the guest has credit and a buffer --->  data packets    guest
//   host socket  <-- ring of at most `window` bytes, when it is full --  data packets  guest
//
// Opening. Either side may begin:
//
//   host begins   REQUEST ->  …  <- RESPONSE    open           (<- RST: refused, socket closed)
//   guest begins  <- REQUEST,    RESPONSE ->    open           (the device refuses by RST itself)
//
// Closing. The two directions end separately, and what was received is delivered first:
//
//   the host's socket ends (its peer shut down sending)   all its bytes, then SHUTDOWN(send) ->
//   the host's reader is gone (peer closed, EPIPE)        SHUTDOWN(receive) ->, so that a writer in
//                                                         the guest gets EPIPE
//   <- SHUTDOWN(send)      all its bytes to the socket, then shutdown(SHUT_WR)
//   <- SHUTDOWN(receive)   shutdown(SHUT_RD): a writer on the host gets EPIPE
//   <- SHUTDOWN(both)      all its bytes to the socket, then RST -> and the socket is closed
//   both directions over   SHUTDOWN(both) ->, then <- RST; the device waits a limited time
//   <- RST                 the guest has forgotten the stream: it leaves the device's table, but
//   its
//                          bytes still go to the socket ("draining") before that is closed
//
// The class knows neither queues nor the event loop: it says what it wants (interest(),
// has_control(), has_data(), fate(), waits_for()) and the device asks after each event. Under the
// device's lock.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "devices/fd.h"
#include "devices/vsock/byte_ring.h"
#include "devices/vsock/credit.h"
#include "devices/vsock/packet.h"

namespace thimble {

// What names a stream; the guest has one address, so two ports suffice.
struct PortPair {
  uint32_t host = 0;
  uint32_t guest = 0;
  bool operator==(const PortPair&) const = default;
};

class Connection {
 public:
  // What is to become of the stream now.
  enum class Fate {
    kKeep,
    kReset,  // tell the guest by RST and forget it; nothing of it is wanted any more
    kDrain,  // the guest has forgotten it; only bytes for the host's socket are left
    kDrop,   // over on both sides
  };
  // What the guest owes us within a time limit.
  enum class Wait { kNothing, kResponse, kReset };

  // Host-initiated: the first control packet is the REQUEST. `stream` is a connected byte stream
  // socket, blocking or not. `say_ok`: once accepted, write "OK <host port>\n" to it first.
  Connection(PortPair ports, Fd stream, uint32_t window, bool say_ok);
  // Guest-initiated and accepted: the first control packet is the RESPONSE.
  Connection(const VsockHeader& request, Fd stream, uint32_t window);

  [[nodiscard]] PortPair ports() const { return ports_; }
  [[nodiscard]] int stream() const { return stream_.get(); }
  // The guest has never heard of it.
  [[nodiscard]] bool unborn() const { return phase_ == Phase::kWaiting; }

  // From the guest. `payload` is header.len bytes of guest memory; kReset is not passed here.
  void receive(const VsockHeader& header, std::span<const iovec> payload);
  // RST came, or the driver reset the device.
  void forgotten_by_guest() { forgotten_ = true; }

  // From the event loop: the socket is ready for `events`.
  void socket_ready(uint32_t events);
  // The guest kept us waiting too long, or sent a packet without its payload.
  void give_up() { failed_ = true; }

  // To the guest. Headers lack the CIDs, which the device fills in.
  [[nodiscard]] bool has_control() const;
  VsockHeader take_control();
  // Something may be read from the socket and the guest can take it.
  [[nodiscard]] bool has_data() const;
  // Reads into `room` (guest memory) as far as credit goes. Nothing when there was nothing to read
  // or the stream ended; the guest's buffer is then unused.
  std::optional<VsockHeader> read_data(std::span<const iovec> room);

  // Events to watch the socket for; with 0 epoll still tells of EPOLLHUP. Nothing: do not watch,
  // since that would report the same again and again.
  [[nodiscard]] std::optional<uint32_t> interest() const;
  [[nodiscard]] Fate fate() const;
  [[nodiscard]] Wait waits_for() const;

 private:
  enum class Phase { kWaiting, kRequested, kOpen };

  [[nodiscard]] VsockHeader header(VsockOp op);
  [[nodiscard]] bool may_read_socket() const;
  [[nodiscard]] bool to_guest_over() const { return socket_ended_ || guest_stopped_receiving_; }
  [[nodiscard]] bool to_host_over() const {
    return reader_gone_ || (guest_stopped_sending_ && unwritten_.empty());
  }
  [[nodiscard]] uint32_t shutdown_due() const;
  [[nodiscard]] bool credit_request_due() const;

  void accepted_by_guest();
  void receive_data(const VsockHeader& header, std::span<const iovec> payload);
  void receive_shutdown(uint32_t flags);
  void write_or_keep(std::span<const iovec> payload);
  void flush();
  void lose_reader();
  void pass_on_end();
  [[nodiscard]] bool socket_has_bytes() const;
  void look_for_end();

  PortPair ports_;
  Fd stream_;
  Phase phase_;
  bool say_ok_ = false;
  SendCredit send_credit_;
  ReceiveCredit receive_credit_;
  ByteRing unwritten_;  // from the guest, not yet taken by the socket; at most the window

  // Socket.
  bool readable_ = false;       // it said so and was not read empty since
  bool hung_up_ = false;        // its peer is closed
  bool socket_ended_ = false;   // read to its end: no more bytes for the guest
  bool reader_gone_ = false;    // writing is in vain
  bool end_passed_on_ = false;  // shutdown(SHUT_WR) was done
  // Guest.
  bool guest_stopped_sending_ = false;
  bool guest_stopped_receiving_ = false;
  bool forgotten_ = false;
  bool failed_ = false;  // broke the protocol, or kept us waiting too long
  // Packets owed to the guest.
  bool response_due_ = false;
  bool credit_update_due_ = false;
  bool credit_requested_ = false;  // asked since credit last ran out
  uint32_t shutdown_told_ = 0;
};

}  // namespace thimble

// See connection.h. Socket I/O never blocks (MSG_DONTWAIT) and never raises SIGPIPE.
#include "devices/vsock/connection.h"

#include <limits.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <utility>

#include "devices/text.h"

namespace thimble {

namespace {

ssize_t send_some(int socket, std::span<const iovec> pieces) {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(pieces.data());
  message.msg_iovlen = std::min<size_t>(pieces.size(), IOV_MAX);
  ssize_t sent = 0;
  do {
    sent = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent;
}

ssize_t receive_some(int socket, std::span<const iovec> pieces, int flags) {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(pieces.data());
  message.msg_iovlen = std::min<size_t>(pieces.size(), IOV_MAX);
  ssize_t got = 0;
  do {
    got = recvmsg(socket, &message, MSG_DONTWAIT | flags);
  } while (got < 0 && errno == EINTR);
  return got;
}

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS; }

size_t total(std::span<const iovec> pieces) {
  size_t bytes = 0;
  for (const iovec& piece : pieces) bytes += piece.iov_len;
  return bytes;
}

}  // namespace

Connection::Connection(PortPair ports, Fd stream, uint32_t window, bool say_ok)
    : ports_(ports),
      stream_(std::move(stream)),
      phase_(Phase::kWaiting),
      say_ok_(say_ok),
      receive_credit_(window) {}

Connection::Connection(const VsockHeader& request, Fd stream, uint32_t window)
    : ports_{.host = request.dst_port, .guest = request.src_port},
      stream_(std::move(stream)),
      phase_(Phase::kOpen),
      receive_credit_(window),
      response_due_(true) {
  failed_ = !send_credit_.update(request.buf_alloc, request.fwd_cnt);
}

// ---- from the guest

void Connection::receive(const VsockHeader& header, std::span<const iovec> payload) {
  if (!send_credit_.update(header.buf_alloc, header.fwd_cnt)) failed_ = true;
  if (send_credit_.available() > 0) credit_requested_ = false;
  if (header.op == VsockOp::kResponse && phase_ == Phase::kRequested) return accepted_by_guest();
  if (phase_ != Phase::kOpen) {
    failed_ = true;
    return;
  }
  switch (header.op) {
    case VsockOp::kData:
      return receive_data(header, payload);
    case VsockOp::kShutdown:
      return receive_shutdown(header.flags);
    case VsockOp::kCreditRequest:
      credit_update_due_ = true;
      return;
    case VsockOp::kCreditUpdate:
      return;
    default:  // a second request or response, or an operation that does not exist
      failed_ = true;
  }
}

// Nothing was written to the socket yet, so the line fits unless the client is gone.
void Connection::accepted_by_guest() {
  phase_ = Phase::kOpen;
  if (hung_up_) return lose_reader();
  if (!say_ok_) return;
  std::string line = text("OK %u\n", ports_.host);
  const iovec piece{line.data(), line.size()};
  if (send_some(stream_.get(), {&piece, 1}) != static_cast<ssize_t>(line.size())) lose_reader();
}

void Connection::receive_data(const VsockHeader& header, std::span<const iovec> payload) {
  if (guest_stopped_sending_ || !receive_credit_.take(header.len)) {
    failed_ = true;
    return;
  }
  if (reader_gone_) return receive_credit_.pass_on(header.len);
  write_or_keep(payload);
}

// Straight from guest memory to the socket; only what it does not take is copied.
void Connection::write_or_keep(std::span<const iovec> payload) {
  size_t written = 0;
  if (unwritten_.empty()) {
    const ssize_t sent = send_some(stream_.get(), payload);
    if (sent < 0 && !would_block()) {
      receive_credit_.pass_on(static_cast<uint32_t>(total(payload)));
      return lose_reader();
    }
    written = static_cast<size_t>(std::max<ssize_t>(sent, 0));
    receive_credit_.pass_on(static_cast<uint32_t>(written));
  }
  for (const iovec& piece : payload) {
    const size_t skip = std::min(written, piece.iov_len);
    written -= skip;
    unwritten_.append({static_cast<const uint8_t*>(piece.iov_base) + skip, piece.iov_len - skip});
  }
}

void Connection::receive_shutdown(uint32_t flags) {
  if ((flags & kShutdownSend) != 0) guest_stopped_sending_ = true;
  if ((flags & kShutdownReceive) != 0 && !guest_stopped_receiving_) {
    guest_stopped_receiving_ = true;
    ::shutdown(stream_.get(), SHUT_RD);
  }
  pass_on_end();
}

// ---- the host's socket

void Connection::socket_ready(uint32_t events) {
  if ((events & EPOLLOUT) != 0) flush();
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) readable_ = true;
  if ((events & (EPOLLHUP | EPOLLERR)) != 0) hung_up_ = true;
  if (phase_ != Phase::kOpen) {
    // "Connect, write, close" is a fair use: only a client that left nothing behind has given up.
    if (hung_up_ && !socket_has_bytes()) failed_ = true;
    return;
  }
  if (hung_up_) lose_reader();
  if (send_credit_.available() == 0) look_for_end();
}

bool Connection::socket_has_bytes() const {
  uint8_t byte = 0;
  const iovec piece{&byte, 1};
  return receive_some(stream_.get(), {&piece, 1}, MSG_PEEK) > 0;
}

// The end of the socket needs no credit to be passed on.
void Connection::look_for_end() {
  if (!readable_ || to_guest_over()) return;
  uint8_t byte = 0;
  const iovec piece{&byte, 1};
  const ssize_t got = receive_some(stream_.get(), {&piece, 1}, MSG_PEEK);
  if (got < 0 && would_block()) {
    readable_ = false;
  } else if (got <= 0) {
    socket_ended_ = true;
  }
}

void Connection::flush() {
  if (unwritten_.empty()) return;
  const auto pieces = unwritten_.pieces();
  const ssize_t sent = send_some(stream_.get(), pieces);
  if (sent < 0) {
    if (!would_block()) lose_reader();
    return;
  }
  receive_credit_.pass_on(static_cast<uint32_t>(sent));
  unwritten_.consume(static_cast<size_t>(sent));
  pass_on_end();
}

void Connection::lose_reader() {
  reader_gone_ = true;
  receive_credit_.pass_on(static_cast<uint32_t>(unwritten_.size()));
  unwritten_.clear();
}

void Connection::pass_on_end() {
  if (end_passed_on_ || !guest_stopped_sending_ || !unwritten_.empty()) return;
  end_passed_on_ = true;
  ::shutdown(stream_.get(), SHUT_WR);
}

// ---- to the guest

VsockHeader Connection::header(VsockOp op) {
  credit_update_due_ = false;  // every packet carries it
  return VsockHeader{.src_port = ports_.host,
                     .dst_port = ports_.guest,
                     .op = op,
                     .buf_alloc = receive_credit_.window(),
                     .fwd_cnt = receive_credit_.tell()};
}

uint32_t Connection::shutdown_due() const {
  uint32_t flags = 0;
  if (socket_ended_) flags |= kShutdownSend;
  if (reader_gone_) flags |= kShutdownReceive;
  if (to_guest_over() && to_host_over()) flags = kShutdownBoth;
  return flags & ~shutdown_told_;
}

bool Connection::credit_request_due() const {
  return readable_ && !to_guest_over() && send_credit_.available() == 0 && !credit_requested_;
}

bool Connection::has_control() const {
  if (phase_ == Phase::kWaiting) return true;
  if (phase_ == Phase::kRequested) return false;
  return response_due_ || shutdown_due() != 0 || credit_update_due_ ||
         (receive_credit_.update_due() && !guest_stopped_sending_) || credit_request_due();
}

VsockHeader Connection::take_control() {
  if (phase_ == Phase::kWaiting) {
    phase_ = Phase::kRequested;
    return header(VsockOp::kRequest);
  }
  if (std::exchange(response_due_, false)) return header(VsockOp::kResponse);
  if (shutdown_due() != 0) {
    shutdown_told_ |= shutdown_due();
    VsockHeader packet = header(VsockOp::kShutdown);
    packet.flags = shutdown_told_;
    return packet;
  }
  if (credit_update_due_ || receive_credit_.update_due()) return header(VsockOp::kCreditUpdate);
  credit_requested_ = true;
  return header(VsockOp::kCreditRequest);
}

bool Connection::may_read_socket() const { return phase_ == Phase::kOpen && !to_guest_over(); }

bool Connection::has_data() const {
  return may_read_socket() && readable_ && send_credit_.available() > 0;
}

std::optional<VsockHeader> Connection::read_data(std::span<const iovec> room) {
  std::array<iovec, 64> pieces{};
  uint32_t left = std::min(send_credit_.available(), kMaxPayload);
  size_t count = 0;
  for (; count < std::min(room.size(), pieces.size()) && left > 0; ++count) {
    pieces[count] = {room[count].iov_base, std::min<size_t>(room[count].iov_len, left)};
    left -= static_cast<uint32_t>(pieces[count].iov_len);
  }
  const std::span<const iovec> wanted(pieces.data(), count);
  if (total(wanted) == 0) return std::nullopt;
  const ssize_t got = receive_some(stream_.get(), wanted, 0);
  // A short read emptied the socket; if not quite, the level-triggered watch tells again.
  if (got < static_cast<ssize_t>(total(wanted))) readable_ = false;
  if (got <= 0) {
    if (got == 0 || !would_block()) socket_ended_ = true;
    return std::nullopt;
  }
  send_credit_.spend(static_cast<uint32_t>(got));
  if (send_credit_.available() == 0) look_for_end();
  VsockHeader packet = header(VsockOp::kData);
  packet.len = static_cast<uint32_t>(got);
  return packet;
}

// ---- what it wants

std::optional<uint32_t> Connection::interest() const {
  uint32_t events = 0;
  if (may_read_socket() && !readable_ && !forgotten_) events |= EPOLLIN;
  if (!unwritten_.empty()) events |= EPOLLOUT;
  if (events == 0 && hung_up_) return std::nullopt;
  return events;
}

Connection::Fate Connection::fate() const {
  if (forgotten_) return unwritten_.empty() ? Fate::kDrop : Fate::kDrain;
  if (failed_) return unborn() ? Fate::kDrop : Fate::kReset;
  const bool closed_by_guest = guest_stopped_sending_ && guest_stopped_receiving_;
  return closed_by_guest && unwritten_.empty() ? Fate::kReset : Fate::kKeep;
}

Connection::Wait Connection::waits_for() const {
  if (phase_ == Phase::kRequested) return Wait::kResponse;
  return shutdown_told_ == kShutdownBoth ? Wait::kReset : Wait::kNothing;
}

}  // namespace thimble

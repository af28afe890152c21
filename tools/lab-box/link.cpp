// The framed connection; see link.h.
#include "tools/lab-box/link.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstring>

namespace thimble::lab {

uint32_t Frame::number() const {
  uint32_t value = 0;
  if (payload.size() == sizeof(value)) std::memcpy(&value, payload.data(), sizeof(value));
  return value;
}

Link::Link(Fd socket, size_t limit) : socket_(std::move(socket)), limit_(limit) {
  ::fcntl(socket_.get(), F_SETFL, ::fcntl(socket_.get(), F_GETFL) | O_NONBLOCK);
}

void Link::send(FrameType type, uint8_t stream, std::string_view payload) {
  const FrameHeader header{type, stream, 0, static_cast<uint32_t>(payload.size())};
  out_.append(reinterpret_cast<const char*>(&header), sizeof(header));
  out_.append(payload);
}

void Link::send_number(FrameType type, uint8_t stream, uint32_t number) {
  send(type, stream, {reinterpret_cast<const char*>(&number), sizeof(number)});
}

Result<void> Link::flush() {
  while (pending() > 0) {
    const ssize_t n = ::send(fd(), out_.data() + out_sent_, pending(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return {};
    if (n < 0) return fail_errno("write to the lab connection");
    out_sent_ += static_cast<size_t>(n);
  }
  out_.clear();
  out_sent_ = 0;
  return {};
}

Result<bool> Link::fill() {
  char buffer[64 * 1024];
  const ssize_t n = ::recv(fd(), buffer, sizeof(buffer), MSG_DONTWAIT);
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return true;
  if (n < 0) return fail_errno("read from the lab connection");
  if (n == 0) return false;
  in_.erase(0, in_used_);
  in_used_ = 0;
  in_.append(buffer, static_cast<size_t>(n));
  return true;
}

Result<std::optional<Frame>> Link::next() {
  const size_t available = in_.size() - in_used_;
  FrameHeader header;
  if (available < sizeof(header)) return std::nullopt;
  std::memcpy(&header, in_.data() + in_used_, sizeof(header));
  if (header.length > limit_) return fail("a frame on the lab connection is too long");
  if (available - sizeof(header) < header.length) return std::nullopt;
  Frame frame{header.type, header.stream, in_.substr(in_used_ + sizeof(header), header.length)};
  in_used_ += sizeof(header) + header.length;
  return frame;
}

Result<void> Link::drain(int timeout_ms) {
  while (pending() > 0) {
    if (auto flushed = flush(); !flushed) return flushed;
    if (pending() == 0) break;
    pollfd wait{fd(), POLLOUT, 0};
    if (::poll(&wait, 1, timeout_ms) == 0) return fail("write to the lab connection: timed out");
  }
  return {};
}

void Link::finish(int timeout_ms) {
  if (!drain(timeout_ms)) return;
  ::shutdown(fd(), SHUT_WR);
  pollfd wait{fd(), POLLIN, 0};
  while (::poll(&wait, 1, timeout_ms) > 0) {
    const auto more = fill();
    if (!more || !*more) return;
    in_used_ = in_.size();
  }
}

}  // namespace thimble::lab

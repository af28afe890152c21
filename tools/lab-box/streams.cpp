// The ends of a command's streams; see streams.h.
#include "tools/lab-box/streams.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace thimble::lab {

pollfd Outlet::wish(const Link& link) const {
  const bool may_read = open() && credit_ > 0 && link.pending() < kWindow;
  // An unwanted descriptor must not be polled at all: POLLHUP is reported unasked.
  return {may_read ? source_.get() : -1, POLLIN, 0};
}

bool Outlet::pump(Link& link) {
  if (!open() || credit_ == 0) return false;
  char buffer[kChunk];
  const ssize_t n = ::read(source_.get(), buffer, std::min(sizeof(buffer), credit_));
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return false;
  if (n <= 0) {  // a terminal that went away gives EIO: an end like any other
    stop(link);
    return true;
  }
  credit_ -= static_cast<size_t>(n);
  link.send(FrameType::kData, stream_, {buffer, static_cast<size_t>(n)});
  return true;
}

void Outlet::stop(Link& link) {
  if (!open()) return;
  source_.reset();
  link.send(FrameType::kEof, stream_);
}

pollfd Inlet::wish() const {
  // With nothing to write, POLLERR is still reported: the reader of our pipe has gone.
  return {sink_.get(), static_cast<short>(buffer_.empty() ? 0 : POLLOUT), 0};
}

bool Inlet::take(std::string_view data) {
  if (!open()) return true;
  if (buffer_.size() - written_ + data.size() > kWindow) return false;
  buffer_.append(data);
  return true;
}

void Inlet::take_eof() {
  eof_ = true;
  if (buffer_.empty()) sink_.reset();
}

void Inlet::pump(short revents, Link& link) {
  if (!open() || revents == 0) return;
  if ((revents & POLLOUT) == 0) {
    if ((revents & (POLLERR | POLLHUP | POLLNVAL)) != 0) break_off(link);
    return;
  }
  const size_t want = std::min(buffer_.size() - written_, largest_write_);
  const ssize_t n = ::write(sink_.get(), buffer_.data() + written_, want);
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (n < 0) return break_off(link);
  written_ += static_cast<size_t>(n);
  link.send_number(FrameType::kCredit, stream_, static_cast<uint32_t>(n));
  if (written_ < buffer_.size()) return;
  buffer_.clear();
  written_ = 0;
  if (eof_) sink_.reset();
}

void Inlet::break_off(Link& link) {
  sink_.reset();
  buffer_.clear();
  written_ = 0;
  link.send(FrameType::kClose, stream_);
}

}  // namespace thimble::lab

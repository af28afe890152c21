#include "guest-init/control.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

namespace thimble::init {

using protocol::FrameHeader;

void ControlChannel::connect(int fd) {
  fd_ = fd;
  closed_by_host_ = false;
  in_size_ = taken_ = out_size_ = 0;
}

void ControlChannel::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

void ControlChannel::add(PollSet& set) {
  index_ = PollSet::kNone;
  if (fd_ < 0 || closed_by_host_) return;
  const bool readable = may_answer() && in_size_ < kInCapacity;
  index_ = set.add(fd_, (readable ? POLLIN : 0) | (out_size_ ? POLLOUT : 0));
}

void ControlChannel::run(const PollSet& set) {
  const int events = set.at(index_);
  if (events & POLLOUT) transmit();
  if (events & (POLLIN | POLLHUP | POLLERR)) receive();
}

void ControlChannel::receive() {
  drop_taken();
  if (in_size_ == kInCapacity) return;
  const ssize_t got = recv(fd_, in_ + in_size_, kInCapacity - in_size_, MSG_DONTWAIT);
  if (got > 0) in_size_ += static_cast<size_t>(got);
  if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) closed_by_host_ = true;
}

void ControlChannel::transmit() {
  while (out_size_ > 0) {
    const ssize_t put = ::send(fd_, out_, out_size_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (put < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (put < 0) {
      closed_by_host_ = true;
      return;
    }
    out_size_ -= static_cast<size_t>(put);
    memmove(out_, out_ + put, out_size_);
  }
}

void ControlChannel::drop_taken() {
  in_size_ -= taken_;
  memmove(in_, in_ + taken_, in_size_);
  taken_ = 0;
}

ControlChannel::Input ControlChannel::take(Frame& frame, const char*& why) {
  if (fd_ < 0) return Input::kNothing;
  drop_taken();
  const Input idle = closed_by_host_ ? Input::kClosed : Input::kNothing;
  if (!may_answer()) return idle;
  FrameHeader header;
  if (in_size_ < sizeof header) return idle;
  memcpy(&header, in_, sizeof header);
  why = check_header(header);
  if (why) return Input::kMalformed;
  if (in_size_ - sizeof header < header.length) return idle;
  frame = {header.type, in_ + sizeof header, header.length};
  taken_ = sizeof header + header.length;
  return Input::kFrame;
}

bool ControlChannel::send(FrameWriter& writer) {
  const Bytes frame = writer.finish();
  if (fd_ < 0 || kOutCapacity - out_size_ < frame.size) return false;
  memcpy(out_ + out_size_, frame.data, frame.size);
  out_size_ += frame.size;
  transmit();
  return true;
}

void ControlChannel::flush(int timeout_ms) {
  // A host that takes nothing in a whole period will not take the rest either.
  while (fd_ >= 0 && !closed_by_host_ && out_size_ > 0) {
    const size_t before = out_size_;
    PollSet set;
    set.add(fd_, POLLOUT);
    set.wait(timeout_ms);
    transmit();
    if (out_size_ == before) return;
  }
}

}  // namespace thimble::init

// See byte_flow.h.
#include "mcp-agent/byte_flow.h"

#include <algorithm>
#include <cstring>

namespace thimble {

ByteFlow::ByteFlow(Endpoint source, Endpoint sink, size_t capacity, OnError on_error)
    : source_(std::move(source)),
      sink_(std::move(sink)),
      capacity_(capacity),
      buffer_(std::make_unique_for_overwrite<uint8_t[]>(capacity)),
      on_error_(on_error) {}

pollfd ByteFlow::source_entry() const {
  if (done_ || source_ended_) return {-1, 0, 0};
  if (has_room()) return {source_.poll_fd(), POLLIN, 0};
  // Without POLLIN poll() still tells that the writers are gone; once known, for ever.
  return {source_hung_up_ ? -1 : source_.poll_fd(), 0, 0};
}

pollfd ByteFlow::sink_entry() const {
  // Without POLLOUT poll() still tells of POLLERR and POLLHUP: a reader that is gone is noticed
  // before the next byte, as the server's own write would notice it.
  const auto events = static_cast<short>(buffered() > 0 ? POLLOUT : 0);
  return {done_ ? -1 : sink_.poll_fd(), events, 0};
}

void ByteFlow::serve(short source_events, short sink_events) {
  if (done_) return;
  if ((sink_events & (POLLERR | POLLHUP | POLLNVAL)) != 0) return sink_gone();
  if ((source_events & (POLLHUP | POLLERR)) != 0) source_hung_up_ = true;
  bool may_write = (sink_events & POLLOUT) != 0;
  if (source_events != 0 && !source_ended_ && has_room()) {
    fill();
    may_write = may_write || sink_.never_waits();
  }
  if (may_write && buffered() > 0) drain();
  if (!done_ && source_ended_ && buffered() == 0) {
    sink_.finish();
    done_ = true;
  }
}

void ByteFlow::fill() {
  if (head_ > 0 && tail_ == capacity_) {
    std::memmove(buffer_.get(), buffer_.get() + head_, buffered());
    tail_ -= head_;
    head_ = 0;
  }
  const IoResult got = source_.read(std::span(buffer_.get(), capacity_).subspan(tail_));
  const size_t kept = std::min(got.count, remembers_ - remembered_.size());
  if (kept > 0) remembered_.append(reinterpret_cast<const char*>(buffer_.get() + tail_), kept);
  tail_ += got.count;
  if (got.kind == IoResult::Kind::kEnd) end_input();
}

void ByteFlow::drain() {
  const std::span<const uint8_t> waiting(buffer_.get() + head_, buffered());
  const IoResult put = sink_.write(marks_ ? marks_->next(waiting) : waiting);
  if (put.kind == IoResult::Kind::kEnd) return sink_gone();
  if (put.kind == IoResult::Kind::kFailed) return sink_failed(put.error);
  if (put.count > 0) writable_ = true;
  const size_t count = marks_ ? marks_->wrote(waiting, put.count) : put.count;
  written_ += count;
  const uint8_t* out = buffer_.get() + head_;
  for (size_t i = 0; i < count && lines_ < kMaxLines; ++i) lines_ += out[i] == '\n' ? 1 : 0;
  head_ += count;
  if (head_ == tail_) head_ = tail_ = 0;
}

void ByteFlow::end_input() {
  if (source_ended_) return;
  source_ended_ = true;
  source_.close();
}

void ByteFlow::sink_failed(int error) {
  if (error_ == 0) error_ = error;
  if (on_error_ == OnError::kCutOff) return sink_gone();
  writable_ = false;
  lost_ += buffered();
  head_ = tail_ = 0;
}

void ByteFlow::sink_gone() {
  cut_off_ = true;
  source_.close();
  sink_.close();
  head_ = tail_ = 0;
  done_ = true;
}

}  // namespace thimble

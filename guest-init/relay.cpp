#include "guest-init/relay.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace thimble::init {

namespace {

// Chunks passed on before other descriptors get their turn.
constexpr int kRoundsPerTurn = 16;

// What is taken of a terminal after its process has ended: more than it holds by itself, and an end
// to what a background process goes on to write.
constexpr size_t kTerminalRest = size_t{1} << 20;

void close_descriptor(int& fd) {
  if (fd >= 0) close(fd);
  fd = -1;
}

bool would_block(int error) { return error == EAGAIN || error == EINTR; }

}  // namespace

RelayBuffer::Fill RelayBuffer::fill(int fd, size_t limit, size_t& count) {
  const ssize_t got = read(fd, data_ + end_, limit < room() ? limit : room());
  count = got > 0 ? static_cast<size_t>(got) : 0;
  end_ += count;
  if (got > 0) return Fill::kData;
  return got < 0 && would_block(errno) ? Fill::kBlocked : Fill::kEnd;
}

RelayBuffer::Drain RelayBuffer::drain(int fd, bool& moved) {
  while (begin_ < end_) {
    const ssize_t put = write(fd, data_ + begin_, end_ - begin_);
    if (put < 0 && would_block(errno)) return Drain::kBlocked;
    if (put < 0) return Drain::kBroken;
    begin_ += static_cast<size_t>(put);
    moved = true;
  }
  clear();
  return Drain::kEmpty;
}

void InputRelay::detach() {
  close_descriptor(stream_);
  stream_index_ = PollSet::kNone;
}

void InputRelay::end() {
  close_descriptor(stream_);
  host_ended_ = true;
  if (buffer_.empty()) close_descriptor(pipe_);
}

void InputRelay::close_all() {
  close_descriptor(stream_);
  close_descriptor(pipe_);
  buffer_.clear();
}

void InputRelay::reset() {
  close_all();
  host_ended_ = false;
  stream_index_ = pipe_index_ = PollSet::kNone;
}

void InputRelay::add(PollSet& set) {
  stream_index_ = pipe_index_ = PollSet::kNone;
  if (pipe_ < 0) return;
  // A hang-up is reported whether asked for or not: once known, a stream with nothing to be read
  // into must stay out of the set, or the loop would spin.
  const bool wanted = stream_ >= 0 && buffer_.empty();
  if (wanted) stream_index_ = set.add(stream_, POLLIN | (host_ended_ ? 0 : POLLRDHUP));
  if (!wanted && stream_ >= 0 && !host_ended_) stream_index_ = set.add(stream_, POLLRDHUP);
  // Without POLLOUT only the server's closing of its stdin is told.
  pipe_index_ = set.add(pipe_, buffer_.empty() ? 0 : POLLOUT);
}

bool InputRelay::run(const PollSet& set) {
  moved_ = false;
  const int stream = set.at(stream_index_);
  const int pipe = set.at(pipe_index_);
  if (stream & (POLLRDHUP | POLLHUP | POLLERR)) host_ended_ = true;
  // A terminal that nobody has open any more says POLLHUP.
  if (pipe & (POLLERR | POLLHUP)) {
    server_closed_it();
  } else if (stream || pipe) {
    pump();
  }
  return moved_;
}

void InputRelay::pump() {
  for (int round = 0; round < kRoundsPerTurn && pipe_ >= 0; ++round) {
    switch (buffer_.drain(pipe_, moved_)) {
      case RelayBuffer::Drain::kBlocked:
        return;
      case RelayBuffer::Drain::kBroken:
        return server_closed_it();
      case RelayBuffer::Drain::kEmpty:
        break;
    }
    if (stream_ < 0) {
      if (host_ended_) close_descriptor(pipe_);
      return;
    }
    size_t count = 0;
    switch (buffer_.fill(stream_, SIZE_MAX, count)) {
      case RelayBuffer::Fill::kBlocked:
        return;
      case RelayBuffer::Fill::kEnd:
        return end();
      case RelayBuffer::Fill::kData:
        break;
    }
  }
}

// As with a pipe on one machine, the client is to see that nobody reads any more.
void InputRelay::server_closed_it() { close_all(); }

void OutputRelay::detach() {
  close_descriptor(stream_);
  stream_index_ = PollSet::kNone;
  host_half_closed_ = stream_ended_ = false;
}

void OutputRelay::finish() {
  if (stream_ < 0) return reader_gone();
  if (pipe_ < 0) return;
  int held = 0;
  if (ioctl(pipe_, FIONREAD, &held) < 0) held = 0;
  // A terminal counts only a part of what it has: it is read until there is nothing.
  left_ = isatty(pipe_) ? kTerminalRest : static_cast<size_t>(held);
  pump();
}

void OutputRelay::reset() {
  reader_gone();
  host_half_closed_ = stream_ended_ = false;
  left_ = SIZE_MAX;
  stream_index_ = pipe_index_ = PollSet::kNone;
}

void OutputRelay::add(PollSet& set) {
  stream_index_ = pipe_index_ = PollSet::kNone;
  if (stream_ < 0 || stream_ended_) return;
  if (pipe_ < 0 && buffer_.empty()) return;
  stream_index_ =
      set.add(stream_, (buffer_.empty() ? 0 : POLLOUT) | (host_half_closed_ ? 0 : POLLRDHUP));
  if (pipe_ >= 0 && buffer_.empty()) pipe_index_ = set.add(pipe_, POLLIN);
}

bool OutputRelay::run(const PollSet& set) {
  moved_ = false;
  const int stream = set.at(stream_index_);
  const int pipe = set.at(pipe_index_);
  watch_host(stream);
  if (stream_ >= 0 && (pipe || (stream & POLLOUT))) pump();
  return moved_;
}

// A host that closes its end is a reader gone. One that only stopped sending is not: an empty send
// fails on vsock where the peer does not receive any more, and a unix socket says POLLHUP.
void OutputRelay::watch_host(int events) {
  if (events & (POLLHUP | POLLERR)) return reader_gone();
  if (!(events & POLLRDHUP)) return;
  if (send(stream_, "", 0, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && !would_block(errno)) {
    return reader_gone();
  }
  host_half_closed_ = true;
}

void OutputRelay::pump() {
  for (int round = 0; round < kRoundsPerTurn; ++round) {
    switch (buffer_.drain(stream_, moved_)) {
      case RelayBuffer::Drain::kBlocked:
        return;
      case RelayBuffer::Drain::kBroken:
        return reader_gone();
      case RelayBuffer::Drain::kEmpty:
        break;
    }
    if (pipe_ >= 0 && left_ == 0) close_descriptor(pipe_);
    if (pipe_ < 0) return end_stream();
    size_t count = 0;
    switch (buffer_.fill(pipe_, left_, count)) {
      case RelayBuffer::Fill::kBlocked:
        // A finished pipe held this much a moment ago; a background process has read it away.
        if (left_ != SIZE_MAX) left_ = 0;
        if (left_ == 0) break;
        return;
      case RelayBuffer::Fill::kEnd:
        left_ = 0;
        break;
      case RelayBuffer::Fill::kData:
        moved_ = true;
        if (left_ != SIZE_MAX) left_ -= count;
        break;
    }
  }
}

void OutputRelay::end_stream() {
  shutdown(stream_, SHUT_WR);
  stream_ended_ = true;
}

// The server learns it by SIGPIPE or EPIPE at its next write.
void OutputRelay::reader_gone() {
  close_descriptor(stream_);
  close_descriptor(pipe_);
  buffer_.clear();
}

}  // namespace thimble::init

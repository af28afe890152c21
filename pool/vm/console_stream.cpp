// See console_stream.h.
#include "pool/vm/console_stream.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "devices/text.h"

namespace thimble {

namespace {

// Bytes that the socket took; 0 when it is full, -1 when its other end is gone.
ssize_t send_some(int socket, std::span<iovec> pieces) {
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = pieces.size();
  for (;;) {
    const ssize_t sent = ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) return sent;
    if (errno == EAGAIN || errno == ENOBUFS) return 0;
    if (errno != EINTR) return -1;
  }
}

}  // namespace

Result<std::unique_ptr<ConsoleStream>> ConsoleStream::make(Fd stream) {
  Fd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return fail_errno("make an eventfd for the console");
  return std::unique_ptr<ConsoleStream>(new ConsoleStream(std::move(stream), std::move(wake)));
}

void ConsoleStream::write(std::span<const uint8_t> bytes) {
  const std::scoped_lock guard(lock_);
  tell_dropped();
  const bool idle = waiting_.empty();
  if (idle) bytes = bytes.subspan(send_now(bytes));
  keep(bytes);
  if (idle && !waiting_.empty()) eventfd_write(wake_.get(), 1);
}

size_t ConsoleStream::send_now(std::span<const uint8_t> bytes) {
  if (reader_gone_) return 0;
  iovec piece{const_cast<uint8_t*>(bytes.data()), bytes.size()};
  const ssize_t sent = send_some(stream_.get(), {&piece, 1});
  if (sent < 0) reader_gone_ = true;
  return static_cast<size_t>(std::max<ssize_t>(sent, 0));
}

// The oldest bytes are kept: they are on their way already.
void ConsoleStream::keep(std::span<const uint8_t> bytes) {
  if (reader_gone_) return;
  const size_t fits = std::min(bytes.size(), kMaxWaiting - waiting_.size());
  waiting_.append(bytes.first(fits));
  dropped_ += bytes.size() - fits;
}

// Where the gap is, once half of the room is free again: not for each byte that comes and goes.
void ConsoleStream::tell_dropped() {
  if (dropped_ == told_ || waiting_.size() > kMaxWaiting / 2) return;
  const std::string line =
      text("\r\n[thimble: %lu bytes of the console were dropped: nobody read them in time]\r\n",
           dropped_ - told_);
  told_ = dropped_;
  keep({reinterpret_cast<const uint8_t*>(line.data()), line.size()});
}

void ConsoleStream::send_waiting() {
  while (!waiting_.empty()) {
    auto pieces = waiting_.pieces();
    const ssize_t sent = send_some(stream_.get(), pieces);
    if (sent == 0) return;
    if (sent < 0) {
      reader_gone_ = true;
      return waiting_.clear();
    }
    waiting_.consume(static_cast<size_t>(sent));
  }
}

void ConsoleStream::serve(const std::function<size_t(std::string_view)>& typed) {
  bool open = true;
  for (;;) {
    const auto timeout = time_left();
    if (!timeout) return;
    if (!typed_.empty()) typed_.erase(0, typed(typed_));
    const bool typing = open && typed_.empty();
    const bool sending = [this] {
      const std::scoped_lock guard(lock_);
      return !waiting_.empty();
    }();
    const auto events = static_cast<short>((typing ? POLLIN : 0) | (sending ? POLLOUT : 0));
    std::array<pollfd, 2> set{pollfd{wake_.get(), POLLIN, 0},
                              // With nothing to do, a closed stream would be reported for ever.
                              pollfd{events != 0 ? stream_.get() : -1, events, 0}};
    if (::poll(set.data(), set.size(), *timeout) < 0 && errno != EINTR) return;
    eventfd_t count = 0;
    if (set[0].revents != 0) eventfd_read(wake_.get(), &count);
    if (typing && set[1].revents != 0) open = read_typed();
    const std::scoped_lock guard(lock_);
    send_waiting();
    tell_dropped();
  }
}

bool ConsoleStream::read_typed() {
  std::array<char, 4096> bytes{};
  const ssize_t got = ::recv(stream_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  typed_.assign(bytes.data(), static_cast<size_t>(got));
  return got > 0;
}

std::optional<int> ConsoleStream::time_left() {
  const std::scoped_lock guard(lock_);
  if (!stop_at_) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(*stop_at_ - Clock::now()).count();
  if (waiting_.empty() || left <= 0) return std::nullopt;
  return static_cast<int>(left);
}

void ConsoleStream::stop(std::chrono::milliseconds timeout) {
  const std::scoped_lock guard(lock_);
  tell_dropped();
  stop_at_ = Clock::now() + timeout;
  eventfd_write(wake_.get(), 1);
}

uint64_t ConsoleStream::dropped() {
  const std::scoped_lock guard(lock_);
  return dropped_;
}

}  // namespace thimble

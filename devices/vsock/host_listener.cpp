// See host_listener.h.
#include "devices/vsock/host_listener.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <utility>

namespace thimble {

std::optional<uint32_t> parse_connect_line(std::string_view line) {
  constexpr std::string_view kVerb = "CONNECT ";
  constexpr size_t kMaxDigits = 10;
  if (!line.starts_with(kVerb)) return std::nullopt;
  const std::string_view digits = line.substr(kVerb.size());
  uint32_t port = 0;
  const char* end = digits.data() + digits.size();
  const auto parsed = std::from_chars(end - digits.size(), end, port);
  const bool whole = parsed.ec == std::errc() && parsed.ptr == end && digits.size() <= kMaxDigits;
  return whole ? std::optional(port) : std::nullopt;
}

HostListener::HostListener(Fd listener, EventLoop& loop, Limits limits, OnConnect on_connect)
    : listener_(std::move(listener)),
      loop_(loop),
      limits_(limits),
      on_connect_(std::move(on_connect)) {
  listen();
}

HostListener::~HostListener() {
  while (!clients_.empty()) take_out(clients_.begin()->first);
  if (listening_) loop_.unwatch(listener_.get());
  if (pause_) loop_.cancel(*pause_);
}

// Watched only while a client may be accepted: a level-triggered watch that nobody serves spins.
void HostListener::listen() {
  const bool wanted = clients_.size() < limits_.clients && !pause_;
  if (wanted == listening_) return;
  listening_ = wanted;
  if (!wanted) return loop_.unwatch(listener_.get());
  loop_.watch(listener_.get(), EPOLLIN, [this](uint32_t) { accept_clients(); });
}

void HostListener::accept_clients() {
  while (clients_.size() < limits_.clients) {
    Fd stream(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (stream) {
      add(std::move(stream));
      continue;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) break;
    if (errno == EINTR || errno == ECONNABORTED) continue;
    pause();  // no descriptors, no memory: the client stays in the backlog
    break;
  }
  listen();
}

void HostListener::pause() {
  pause_ = loop_.after(limits_.pause, [this] {
    pause_.reset();
    listen();
  });
}

void HostListener::add(Fd stream) {
  const int fd = stream.get();
  Client& client = clients_[fd];
  client.stream = std::move(stream);
  client.timer = loop_.after(limits_.line, [this, fd] {
    take_out(fd);
    listen();
  });
  loop_.watch(fd, EPOLLIN, [this, fd](uint32_t) { read_line(fd); });
}

Fd HostListener::take_out(int fd) {
  auto client = clients_.extract(fd);
  loop_.cancel(client.mapped().timer);
  loop_.unwatch(fd);
  return std::move(client.mapped().stream);
}

// Looks first and then takes up to the line's end, so that the stream's first bytes stay where the
// stream will read them.
void HostListener::read_line(int fd) {
  Client& client = clients_.at(fd);
  std::array<char, kMaxLine> bytes{};
  const ssize_t seen = recv(fd, bytes.data(), kMaxLine - client.line.size(), MSG_PEEK);
  if (seen < 0 && (errno == EAGAIN || errno == EINTR)) return;
  std::string_view part(bytes.data(), seen > 0 ? static_cast<size_t>(seen) : 0);
  const size_t line_end = part.find('\n');
  const bool complete = line_end != std::string_view::npos;
  if (complete) part = part.substr(0, line_end + 1);
  if (!part.empty()) recv(fd, bytes.data(), part.size(), 0);
  client.line += part;
  if (!complete && !part.empty() && client.line.size() < kMaxLine) return;

  if (complete) client.line.pop_back();
  const auto port = complete ? parse_connect_line(client.line) : std::nullopt;
  Fd stream = take_out(fd);
  if (port) on_connect_(*port, std::move(stream));
  listen();
}

}  // namespace thimble

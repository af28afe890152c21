// The host's door to the guest's ports: an AF_UNIX listener in the convention that Firecracker and
// Cloud Hypervisor users know.
//
//   client                                  here
//   connect                            ->
//   "CONNECT <port>\n"                 ->   … the guest is asked …
//                                      <-   "OK <host port>\n", then the stream's raw bytes
//                                           nobody listens in the guest: closed without a word
//
// <port> is 1 to 10 decimal digits below 2^32. Anything else, a line longer than 32 bytes, or a
// line that is not complete within the time limit: the client is dropped. Bytes after the line
// belong to the stream and stay in the socket. Only so many clients may be in this phase at once;
// further ones wait in the kernel's backlog.
//
// Lives on the event loop's thread (or the thread that sets up); has nothing to do with the
// device's lock. This part ends when the line was read: the device answers.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "devices/event_loop.h"
#include "devices/fd.h"

namespace thimble {

// The port of a line "CONNECT <port>", without its line end; nothing when it is anything else.
std::optional<uint32_t> parse_connect_line(std::string_view line);

class HostListener {
 public:
  struct Limits {
    size_t clients = 64;
    std::chrono::nanoseconds line = std::chrono::seconds(5);
    std::chrono::nanoseconds pause = std::chrono::milliseconds(100);  // when descriptors run out
  };
  static constexpr size_t kMaxLine = 32;  // bytes, with the line end

  // The client asked for `port`; its stream is handed over.
  using OnConnect = std::function<void(uint32_t port, Fd stream)>;

  // `listener` is a nonblocking listening socket. The loop must outlive this.
  HostListener(Fd listener, EventLoop& loop, Limits limits, OnConnect on_connect);
  HostListener(const HostListener&) = delete;
  HostListener& operator=(const HostListener&) = delete;
  ~HostListener();

  // Clients whose line is not complete.
  [[nodiscard]] size_t waiting() const { return clients_.size(); }

 private:
  struct Client {
    Fd stream;
    std::string line;
    EventLoop::TimerId timer = 0;
  };

  void listen();
  void accept_clients();
  void add(Fd stream);
  void pause();
  void read_line(int fd);
  // Ends the phase; the stream is closed unless it is moved from.
  Fd take_out(int fd);

  Fd listener_;
  EventLoop& loop_;
  Limits limits_;
  OnConnect on_connect_;
  std::unordered_map<int, Client> clients_;
  bool listening_ = false;
  std::optional<EventLoop::TimerId> pause_;
};

}  // namespace thimble

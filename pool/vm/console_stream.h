// The guest's serial console on its way to whoever looks at it, and what is typed there on its way
// back: one connected byte stream.
//
//   event loop   -- write() -->  the stream, or at most kMaxWaiting bytes that wait  -->  reader
//   a thread     -- serve()  :   sends what waits as the reader takes it; hands over what is typed
//
// Nothing that is typed is lost: while the guest takes no more, nothing more is read of the stream.
//
// The event loop serves all devices of the machine, so it never waits for a reader: one that is
// slow or asleep loses bytes instead, and is told how many in a line of its own. The kernel's last
// lines are kept apart from this (console_tail.h).
#pragma once

#include <sys/eventfd.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "devices/fd.h"
#include "devices/result.h"
#include "devices/vsock/byte_ring.h"

namespace thimble {

class ConsoleStream {
 public:
  static constexpr size_t kMaxWaiting = 256UL * 1024;

  // `stream` is a connected byte stream socket.
  static Result<std::unique_ptr<ConsoleStream>> make(Fd stream);
  ConsoleStream(const ConsoleStream&) = delete;
  ConsoleStream& operator=(const ConsoleStream&) = delete;

  // From one thread at a time. Never blocks.
  void write(std::span<const uint8_t> bytes);

  // On a thread of its own, until stop(). `typed` gets what is typed and returns how much of it the
  // guest took. The end of what is typed is not the end.
  void serve(const std::function<size_t(std::string_view)>& typed);

  // The guest takes more of what is typed. From any thread, never blocks.
  void typing_room() { eventfd_write(wake_.get(), 1); }

  // Ends serve() once the reader took what waits, but after `timeout` in any case.
  void stop(std::chrono::milliseconds timeout);

  [[nodiscard]] uint64_t dropped();  // bytes, since the beginning

 private:
  using Clock = std::chrono::steady_clock;
  ConsoleStream(Fd stream, Fd wake) : stream_(std::move(stream)), wake_(std::move(wake)) {}
  size_t send_now(std::span<const uint8_t> bytes);
  void send_waiting();
  void keep(std::span<const uint8_t> bytes);
  void tell_dropped();
  [[nodiscard]] bool read_typed();
  // Milliseconds that serve() may wait for; nothing when it is to end.
  std::optional<int> time_left();

  Fd stream_;
  Fd wake_;            // eventfd: look again
  std::string typed_;  // that the guest has not taken yet; serve()'s own
  std::mutex lock_;
  ByteRing waiting_;
  uint64_t dropped_ = 0;
  uint64_t told_ = 0;         // of them
  bool reader_gone_ = false;  // nobody looks any more
  std::optional<Clock::time_point> stop_at_;
};

}  // namespace thimble

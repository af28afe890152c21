// The event loop that all devices of one VM share: one thread waits for descriptors and timers and
// calls the devices. The interface only; vmm/epoll_loop.h is the one that runs.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>

namespace thimble {

class EventLoop {
 public:
  // `events` is a set of EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR, EPOLLRDHUP.
  using Handler = std::function<void(uint32_t events)>;
  using Callback = std::function<void()>;
  using TimerId = uint64_t;

  virtual ~EventLoop() = default;

  // Every call but post() comes from the loop's thread, or from the thread that sets the machine up
  // before the loop runs. The loop does not own descriptors: unwatch before close. Level-triggered.
  // A handler may unwatch any descriptor, its own too; it is not called again after that.
  virtual void watch(int fd, uint32_t events, Handler handler) = 0;
  virtual void change(int fd, uint32_t events) = 0;
  virtual void unwatch(int fd) = 0;

  // One-shot timer on the monotonic clock.
  virtual TimerId after(std::chrono::nanoseconds delay, Callback callback) = 0;
  virtual void cancel(TimerId timer) = 0;

  // Runs the callback soon on the loop's thread. From any thread.
  virtual void post(Callback callback) = 0;
};

}  // namespace thimble

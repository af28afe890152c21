// The event loop of one machine: epoll over the devices' descriptors, a timer list, and callbacks
// posted from other threads. One thread runs it.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "devices/event_loop.h"
#include "devices/fd.h"
#include "devices/result.h"

namespace thimble {

class EpollLoop final : public EventLoop {
 public:
  static Result<std::unique_ptr<EpollLoop>> create();

  // Serves until stop(), then returns. Callbacks posted before stop() have been run.
  Result<void> run();
  // From any thread, also before run().
  void stop();

  // While the loop's thread is held in a callback: whether nothing waits for it, to be polled for
  // more, and how long until a timer is due.
  [[nodiscard]] bool is_idle();
  [[nodiscard]] int poll_fd() const { return epoll_.get(); }
  [[nodiscard]] std::optional<std::chrono::nanoseconds> until_next_timer() const;

  void watch(int fd, uint32_t events, Handler handler) override;
  void change(int fd, uint32_t events) override;
  void unwatch(int fd) override;
  TimerId after(std::chrono::nanoseconds delay, Callback callback) override;
  void cancel(TimerId timer) override;
  void post(Callback callback) override;

 private:
  // Handlers are held by shared_ptr so that one which unwatches itself stays alive until it
  // returns; the generation tells an event for a closed descriptor from one for its successor.
  struct Watch {
    Handler handler;
    uint32_t generation = 0;
  };
  using Clock = std::chrono::steady_clock;

  EpollLoop(Fd epoll, Fd wake);
  void dispatch(uint64_t key, uint32_t events);
  void run_posted();
  void run_timers();
  [[nodiscard]] int next_timeout() const;
  void wake() const;

  Fd epoll_;
  Fd wake_;  // eventfd: something was posted, or stop() was called
  std::unordered_map<int, std::shared_ptr<Watch>> watches_;
  uint32_t next_generation_ = 1;
  std::map<std::pair<Clock::time_point, TimerId>, Callback> timers_;
  std::unordered_map<TimerId, Clock::time_point> timer_times_;
  TimerId next_timer_ = 1;
  std::mutex posted_lock_;
  std::deque<Callback> posted_;
  std::atomic<bool> stopped_ = false;
};

}  // namespace thimble

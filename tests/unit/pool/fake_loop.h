// An event loop whose clock the test turns; descriptors are real ones.
#pragma once

#include <poll.h>
#include <sys/epoll.h>

#include <map>
#include <utility>
#include <vector>

#include "devices/event_loop.h"

namespace thimble::test {

class FakeLoop final : public EventLoop {
 public:
  using Clock = std::chrono::steady_clock;

  void watch(int fd, uint32_t /*events*/, Handler handler) override {
    watches_[fd] = std::move(handler);
  }
  void change(int /*fd*/, uint32_t /*events*/) override {}
  void unwatch(int fd) override { watches_.erase(fd); }
  TimerId after(std::chrono::nanoseconds delay, Callback callback) override {
    timers_[next_] = {now_ + delay, std::move(callback)};
    return next_++;
  }
  void cancel(TimerId timer) override { timers_.erase(timer); }
  void post(Callback callback) override { posted_.push_back(std::move(callback)); }

  [[nodiscard]] Clock::time_point now() const { return now_; }
  [[nodiscard]] size_t watched() const { return watches_.size(); }

  // Turns the clock, stopping at every timer on the way.
  void advance(std::chrono::milliseconds time) {
    const auto end = now_ + time;
    for (;;) {
      run_posted();
      auto next = timers_.end();
      for (auto at = timers_.begin(); at != timers_.end(); ++at) {
        if (at->second.first > end) continue;
        if (next == timers_.end() || at->second.first < next->second.first) next = at;
      }
      if (next == timers_.end()) break;
      now_ = std::max(now_, next->second.first);
      const Callback callback = std::move(next->second.second);
      timers_.erase(next);
      callback();
    }
    now_ = end;
  }

  // As if this process had been stopped: the timers of that time are late.
  void leap(std::chrono::milliseconds time) {
    now_ += time;
    advance(std::chrono::milliseconds(0));
  }

  // Serves descriptors until `done`, in real time; false after ten seconds.
  bool serve_until(const std::function<bool()>& done) {
    for (int i = 0; i < 1000; ++i) {
      run_posted();
      if (done()) return true;
      serve(10);
    }
    return false;
  }
  // Serves what comes within so many milliseconds of real time.
  void serve(int timeout) {
    std::vector<pollfd> set;
    for (const auto& [fd, handler] : watches_) set.push_back({fd, POLLIN, 0});
    if (::poll(set.data(), set.size(), timeout) <= 0) return;
    for (const pollfd& one : set) {
      if (one.revents == 0) continue;
      const auto found = watches_.find(one.fd);
      if (found == watches_.end()) continue;
      const Handler handler = found->second;
      handler(EPOLLIN);
    }
    run_posted();
  }

 private:
  void run_posted() {
    for (Callback& callback : std::exchange(posted_, {})) callback();
  }

  Clock::time_point now_{std::chrono::hours(1)};
  std::map<int, Handler> watches_;
  std::map<TimerId, std::pair<Clock::time_point, Callback>> timers_;
  std::vector<Callback> posted_;
  TimerId next_ = 1;
};

}  // namespace thimble::test

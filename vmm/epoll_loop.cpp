// See epoll_loop.h.
#include "vmm/epoll_loop.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace thimble {

namespace {

// epoll's user data: descriptor in the low half, generation in the high half.
uint64_t key_of(int fd, uint32_t generation) {
  return static_cast<uint32_t>(fd) | (static_cast<uint64_t>(generation) << 32);
}

}  // namespace

Result<std::unique_ptr<EpollLoop>> EpollLoop::create() {
  Fd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return fail_errno("create an epoll descriptor");
  Fd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return fail_errno("create an eventfd");
  epoll_event event{.events = EPOLLIN, .data = {.u64 = key_of(wake.get(), 0)}};
  if (epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wake.get(), &event) != 0) {
    return fail_errno("watch an eventfd");
  }
  return std::unique_ptr<EpollLoop>(new EpollLoop(std::move(epoll), std::move(wake)));
}

EpollLoop::EpollLoop(Fd epoll, Fd wake) : epoll_(std::move(epoll)), wake_(std::move(wake)) {}

Result<void> EpollLoop::run() {
  std::array<epoll_event, 32> events{};
  while (!stopped_.load()) {
    const int ready = epoll_wait(epoll_.get(), events.data(), events.size(), next_timeout());
    if (ready < 0 && errno != EINTR) return fail_errno("wait for events");
    for (int i = 0; i < ready; ++i) dispatch(events[i].data.u64, events[i].events);
    run_timers();
    run_posted();
  }
  run_posted();
  return {};
}

void EpollLoop::stop() {
  stopped_.store(true);
  wake();
}

void EpollLoop::wake() const {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof(one));
}

void EpollLoop::dispatch(uint64_t key, uint32_t events) {
  const int fd = static_cast<int>(key & 0xffffffff);
  if (fd == wake_.get()) {
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = ::read(wake_.get(), &count, sizeof(count));
    // The end stays to be seen, by whoever polls poll_fd().
    if (stopped_.load()) wake();
    return;
  }
  const auto found = watches_.find(fd);
  if (found == watches_.end() || found->second->generation != key >> 32) return;
  const std::shared_ptr<Watch> keep = found->second;
  keep->handler(events);
}

void EpollLoop::watch(int fd, uint32_t events, Handler handler) {
  const uint32_t generation = next_generation_++;
  watches_[fd] = std::make_shared<Watch>(Watch{std::move(handler), generation});
  epoll_event event{.events = events, .data = {.u64 = key_of(fd, generation)}};
  // A descriptor already watched gets the new handler. Other failures (EPERM: a regular file is
  // always ready and cannot be watched) are programming errors that show in the first test.
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0 && errno == EEXIST) {
    epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
  }
}

void EpollLoop::change(int fd, uint32_t events) {
  const auto found = watches_.find(fd);
  if (found == watches_.end()) return;
  epoll_event event{.events = events, .data = {.u64 = key_of(fd, found->second->generation)}};
  epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void EpollLoop::unwatch(int fd) {
  if (watches_.erase(fd) != 0) epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

EventLoop::TimerId EpollLoop::after(std::chrono::nanoseconds delay, Callback callback) {
  const TimerId id = next_timer_++;
  const Clock::time_point when = Clock::now() + delay;
  timers_.emplace(std::pair(when, id), std::move(callback));
  timer_times_.emplace(id, when);
  return id;
}

void EpollLoop::cancel(TimerId timer) {
  const auto found = timer_times_.find(timer);
  if (found == timer_times_.end()) return;
  timers_.erase({found->second, timer});
  timer_times_.erase(found);
}

int EpollLoop::next_timeout() const {
  if (timers_.empty()) return -1;
  const auto left = timers_.begin()->first.first - Clock::now();
  // Rounded up: waking a fraction of a millisecond early would spin.
  const auto whole = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  return static_cast<int>(std::clamp<int64_t>(whole, 0, 60'000));
}

void EpollLoop::run_timers() {
  const Clock::time_point now = Clock::now();
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    auto node = timers_.extract(timers_.begin());
    timer_times_.erase(node.key().second);
    node.mapped()();
  }
}

void EpollLoop::post(Callback callback) {
  {
    const std::scoped_lock guard(posted_lock_);
    posted_.push_back(std::move(callback));
  }
  wake();
}

// Those that are there now. The others stay in the row while one runs, so that is_idle() sees them.
void EpollLoop::run_posted() {
  std::unique_lock guard(posted_lock_);
  for (size_t count = posted_.size(); count > 0; --count) {
    const Callback callback = std::move(posted_.front());
    posted_.pop_front();
    guard.unlock();
    callback();
    guard.lock();
  }
}

bool EpollLoop::is_idle() {
  pollfd ready{.fd = epoll_.get(), .events = POLLIN, .revents = 0};
  if (::poll(&ready, 1, 0) != 0) return false;
  const std::scoped_lock guard(posted_lock_);
  return posted_.empty();
}

std::optional<std::chrono::nanoseconds> EpollLoop::until_next_timer() const {
  if (timers_.empty()) return std::nullopt;
  return timers_.begin()->first.first - Clock::now();
}

}  // namespace thimble

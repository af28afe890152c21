// See clock_watch.h.
#include "mcp-agent/clock_watch.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <limits>

namespace thimble {

namespace {

// A timer that never expires, but is cancelled whenever the clock jumps (timerfd_create(2)).
bool arm(int timer) {
  itimerspec never{};
  never.it_value.tv_sec = std::numeric_limits<time_t>::max();
  return ::timerfd_settime(timer, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, nullptr) ==
         0;
}

}  // namespace

Result<ClockWatch> ClockWatch::create() {
  Fd timer(::timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer || !arm(timer.get())) return fail_errno("watch the wall clock");
  return ClockWatch(std::move(timer));
}

// The kernel goes on watching; a cancelled timer need not be armed again for that.
bool ClockWatch::was_set() {
  uint64_t expirations = 0;
  return ::read(timer_.get(), &expirations, sizeof expirations) < 0 && errno == ECANCELED;
}

}  // namespace thimble

// How long to leave something alone that keeps failing: after the first failure not at all, then
// twice as long with every one that follows without a success in between.
#pragma once

#include <algorithm>
#include <chrono>
#include <string>

namespace thimble {

class Backoff {
 public:
  using Clock = std::chrono::steady_clock;

  void fail(Clock::time_point now, std::string why, std::chrono::milliseconds first,
            std::chrono::milliseconds max) {
    why_ = std::move(why);
    ++failures_;
    if (failures_ < kHoldsFrom) return;
    const unsigned doublings = std::min(failures_ - kHoldsFrom, 20U);
    until_ = now + std::min(max, first * (1U << doublings));
  }
  void succeed() { *this = {}; }

  [[nodiscard]] bool holds(Clock::time_point now) const { return now < until_; }
  [[nodiscard]] Clock::time_point until() const { return until_; }
  [[nodiscard]] unsigned failures() const { return failures_; }
  [[nodiscard]] const std::string& why() const { return why_; }

 private:
  static constexpr unsigned kHoldsFrom = 2;  // failures

  unsigned failures_ = 0;
  Clock::time_point until_{};
  std::string why_;
};

}  // namespace thimble

// See reclaim_plan.h.
#include "pool/vm/reclaim_plan.h"

#include <algorithm>
#include <utility>

namespace thimble {

namespace {

constexpr int kIdleShare = 50;
constexpr int kWorthwhile = 4;  // of the first interval
constexpr unsigned kMaxDoublings = 16;
constexpr unsigned kMaxTries = 4;  // in a row
constexpr std::chrono::milliseconds kLongest{60'000};
// For what a guest does when a timer has gone off.
constexpr std::chrono::milliseconds kAfterTimer{100};

}  // namespace

std::chrono::milliseconds ReclaimPlan::until_look() const {
  if (after_timer_) return std::min(*after_timer_, first_);
  const unsigned doublings = std::min(std::max(in_vain_, 1U) - 1, kMaxDoublings);
  return std::max(first_, std::min(first_ * (1U << doublings), kLongest));
}

bool ReclaimPlan::looks_idle(std::chrono::nanoseconds work) {
  const auto used = work - std::exchange(work_, work);
  const auto since = until_look();
  after_timer_.reset();
  return used * kIdleShare < since;
}

void ReclaimPlan::was_tried(const ReclaimReport& report, std::chrono::nanoseconds lasted) {
  const bool worthwhile = report.reclaimed && lasted >= first_ * kWorthwhile;
  in_vain_ = worthwhile ? 0 : in_vain_ + 1;
  after_timer_.reset();
  const bool timer = report.by_timer || report.until_timer.count() > 0;
  // One that ticks all the time is not looked at after each tick.
  if (!timer || in_vain_ > kMaxTries) return;
  after_timer_ = std::chrono::ceil<std::chrono::milliseconds>(report.until_timer) + kAfterTimer;
}

}  // namespace thimble

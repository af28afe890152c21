// See start_signal.h.
#include "vmm/start_signal.h"

#include <immintrin.h>

#include <chrono>

namespace thimble {

namespace {
constexpr std::chrono::microseconds kTimeout(300);
}

void StartSignal::rouse() {
  int far = kFar;
  if (looks_on_ && state_.compare_exchange_strong(far, kSoon)) state_.notify_all();
}

void StartSignal::give() {
  state_ = kNow;
  state_.notify_all();
}

void StartSignal::wait() {
  for (int seen = state_; seen != kNow; seen = state_) {
    if (seen == kSoon) look_on_for_a_while();
    state_.wait(seen);
  }
}

void StartSignal::look_on_for_a_while() const {
  const auto end = std::chrono::steady_clock::now() + kTimeout;
  while (state_ == kSoon && std::chrono::steady_clock::now() < end) _mm_pause();
}

}  // namespace thimble

// See pause.h.
#include "vmm/pause.h"

namespace thimble {

PauseGate::State PauseGate::state() {
  const std::scoped_lock guard(lock_);
  return state_;
}

bool PauseGate::start() {
  const std::scoped_lock guard(lock_);
  if (state_ != State::kIdle) return false;
  state_ = State::kRunning;
  return true;
}

bool PauseGate::begin() {
  const std::scoped_lock guard(lock_);
  if (state_ != State::kRunning) return false;
  state_ = State::kPausing;
  return true;
}

bool PauseGate::wait_for(unsigned threads) {
  std::unique_lock guard(lock_);
  changed_.wait(guard, [&] { return parked_ == threads || state_ == State::kEnded; });
  return state_ != State::kEnded;
}

bool PauseGate::settled() {
  const std::scoped_lock guard(lock_);
  if (state_ != State::kPausing) return false;
  state_ = State::kPaused;
  return true;
}

bool PauseGate::open(const std::function<void()>& before) {
  std::unique_lock guard(lock_);
  if (state_ != State::kPaused) return false;
  before();
  state_ = State::kRunning;
  changed_.notify_all();
  // All have left before this returns, or the next pause would count those who have yet to leave.
  changed_.wait(guard, [&] { return parked_ == 0; });
  return true;
}

bool PauseGate::end() {
  const std::scoped_lock guard(lock_);
  const bool first = state_ != State::kEnded;
  state_ = State::kEnded;
  changed_.notify_all();
  return first;
}

bool PauseGate::park() {
  std::unique_lock guard(lock_);
  ++parked_;
  changed_.notify_all();
  changed_.wait(guard, [&] { return !closed(); });
  --parked_;
  changed_.notify_all();
  return state_ != State::kEnded;
}

}  // namespace thimble

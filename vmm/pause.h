// Where the threads of a machine wait while it is paused: its vCPU threads and its event loop's.
//
//   controller (pause(), resume())         vCPU threads            event loop's thread
//   begin()   running -> pausing
//   … kicks every vCPU …                   leaves the guest
//                                          park(): waits
//   wait_for(vCPUs)
//   … posts to the loop …                                          drains devices, park(): waits
//   wait_for(vCPUs + 1), settled()  -> paused
//   open()    -> running                   goes on                 goes on
//
// The machine may end at any point of this (stop(), a vCPU that gave up): end() lets everybody go.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>

namespace thimble {

class PauseGate {
 public:
  enum class State { kIdle, kRunning, kPausing, kPaused, kEnded };

  [[nodiscard]] State state();
  // run() begins: idle -> running. False when the machine ended before that, or runs already.
  bool start();
  // Running -> pausing; false in every other state.
  bool begin();
  // Waits until so many threads are parked; false when the machine ended meanwhile.
  bool wait_for(unsigned threads);
  // Pausing -> paused; false when the machine ended meanwhile.
  bool settled();
  // Paused -> running: calls `before` and lets everybody go on. False, and nothing called, in every
  // other state.
  bool open(const std::function<void()>& before);
  // The machine ends; everybody is let go. True for the first call only.
  bool end();

  // Threads of the machine: waits while it is pausing or paused. False when it has ended.
  bool park();

 private:
  [[nodiscard]] bool closed() const {
    return state_ == State::kPausing || state_ == State::kPaused;
  }

  std::mutex lock_;
  std::condition_variable changed_;
  State state_ = State::kIdle;
  unsigned parked_ = 0;
};

}  // namespace thimble

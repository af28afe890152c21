// Waits until nobody else uses the machine's CPUs: wall-clock figures are of no use otherwise.
#pragma once

#include <chrono>

namespace thimble::bench {

class IdleMachine {
 public:
  // In all, wait() waits no longer than this.
  explicit IdleMachine(std::chrono::seconds timeout) : timeout_(timeout) {}

  // Returns when each CPU was idle for more than 90 % of a tenth of a second, or the timeout has
  // ended.
  void wait();

  // How often wait() was called, and how often the machine was idle then.
  [[nodiscard]] int waits() const { return waits_; }
  [[nodiscard]] int found_idle() const { return found_idle_; }

 private:
  std::chrono::nanoseconds timeout_;
  int waits_ = 0;
  int found_idle_ = 0;
};

}  // namespace thimble::bench

// When a VM process looks whether its guest has something to do, and reclaims its memory if
// not (Machine::reclaim()): after a time in which it has hardly computed. What was soon over cost
// more than it gained, so from the second one in a row on the next look comes later, each time
// twice as late. A timer of the guest's, though, is soon dealt with.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>

#include "thimble/machine.h"

namespace thimble {

class ReclaimPlan {
 public:
  static constexpr std::chrono::milliseconds kSoonest{100};

  explicit ReclaimPlan(std::chrono::milliseconds after) : first_(std::max(after, kSoonest)) {}

  // How long from now to the next look.
  [[nodiscard]] std::chrono::milliseconds until_look() const;

  // At a look: whether the guest has used less than a fiftieth of a processor since the last one.
  // `work`: its processor time so far.
  bool looks_idle(std::chrono::nanoseconds work);

  // What came of it, and how long it took.
  void was_tried(const ReclaimReport& report, std::chrono::nanoseconds lasted);

 private:
  std::chrono::milliseconds first_;
  std::optional<std::chrono::milliseconds> after_timer_;  // for one look
  unsigned in_vain_ = 0;                                  // tries in a row
  std::chrono::nanoseconds work_{};
};

}  // namespace thimble

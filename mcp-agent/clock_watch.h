// Tells when the host's wall clock was set, which it also is when the host wakes from a suspension.
// A guest's clock knows nothing of that: it counts on from what it was told.
#pragma once

#include "devices/fd.h"
#include "devices/result.h"

namespace thimble {

class ClockWatch {
 public:
  static Result<ClockWatch> create();

  // To be polled for POLLIN.
  [[nodiscard]] int poll_fd() const { return timer_.get(); }

  // Whether the clock was set since the last call. Never waits.
  bool was_set();

 private:
  explicit ClockWatch(Fd timer) : timer_(std::move(timer)) {}

  Fd timer_;
};

}  // namespace thimble

// Where a machine's vCPU threads wait for its start.
//
//   vCPU thread                      run()'s thread
//   wait() sleeps                    … a warm VM waits for its claim …
//   looks on without sleeping   <-   rouse()    the claim has begun: it takes 100 us or so
//   returns                     <-   give()
//
// Waking a thread on a CPU that idles takes as long as the rest of a claim, so the thread is woken
// when the claim begins and not when it is done.
#pragma once

#include <atomic>

namespace thimble {

class StartSignal {
 public:
  // The thread that looks on needs a CPU beside the one that claims: to be called, before any
  // waits, where the host has one.
  void look_on() { looks_on_ = true; }

  // From any thread. give() counts for good.
  void rouse();
  void give();

  // Returns when give() was called.
  void wait();

 private:
  enum State : int { kFar, kSoon, kNow };
  void look_on_for_a_while() const;

  std::atomic<int> state_ = kFar;
  bool looks_on_ = false;
};

}  // namespace thimble

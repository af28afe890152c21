// A machine as C callers hold it: with its thread, its end, and what its callbacks belong to.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "thimble/machine.h"
#include "thimble/thimble.h"
#include "vmm/capi/answer.h"
#include "vmm/capi/options.h"

struct thimble_machine {
  // Its descriptor for the end is made here.
  static thimble::Result<std::unique_ptr<thimble_machine>> create();

  // Ties the C callbacks to this object, which lives as long as the machine.
  void join_callbacks(thimble::MachineOptions& machine_options,
                      const thimble_machine_options& options);

  // From here to the end, on this thread. After it the object may be gone: if it was freed in a
  // callback, or by whoever waited for the end.
  void live();

  // Whether this thread is in one of its callbacks.
  [[nodiscard]] bool calls_back() const;
  // An error in a callback, where most functions would wait for themselves.
  [[nodiscard]] thimble::Result<void> outside_callbacks() const;
  // Takes the one run that a machine has.
  thimble::Result<void> begin();
  // The caller is one who waits now; an error when there is no end to wait for.
  thimble::Result<void> begin_wait();
  // One who waits: until that is so.
  void wait_for(bool (*there)(const thimble_machine&));

  enum class Life { kFresh, kRunning, kEnded };

  std::unique_ptr<thimble::Machine> machine;
  bool has_vsock = false;
  thimble::Fd ended;   // readable after the end
  std::thread thread;  // of thimble_machine_start()
  mutable std::mutex lock;
  std::condition_variable changed;
  Life life = Life::kFresh;
  bool serves = false;     // run() has got as far as the loop: it can be paused
  unsigned waiters = 0;    // in thimble_machine_wait() or _start()
  bool abandoned = false;  // freed in a callback: live() frees it
  std::optional<thimble::End> end;
};

namespace thimble::capi {

using Maker = std::function<Result<std::unique_ptr<Machine>>(MachineOptions)>;

// What thimble_machine_create() and its like have in common.
thimble_error_kind make_machine(const thimble_machine_options* options, thimble_machine** machine,
                                thimble_error** error, const Maker& make) noexcept;

// answer() for what is refused in a callback.
template <class Body>
thimble_error_kind answer_outside(const thimble_machine* machine, thimble_error** error,
                                  Body body) noexcept {
  return answer(error, [&]() -> Result<void> {
    if (auto done = given(machine, "machine"); !done) return done;
    if (auto done = machine->outside_callbacks(); !done) return done;
    return body();
  });
}

}  // namespace thimble::capi

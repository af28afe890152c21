// One virtual CPU: its KVM descriptor, its run area and the loop that runs it.
//
// A thread calls run() until it returns; exits to user space go to the two buses. kick() makes
// run() return soon: it sets immediate_exit, which KVM looks at before it enters the guest, and
// signals the thread, which makes KVM leave the guest. The signal is kKickSignal, blocked in the
// thread and let in by KVM only while the guest runs (KVM_SET_SIGNAL_MASK), so no handler is ever
// installed; it stays pending and is taken off by the next run().
//
// To pause: kick(), and when run() has returned, finish_exit() on the same thread; then the vCPU's
// state is whole and may be saved. To go on: rearm(), then run() again.
#pragma once

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "devices/bus.h"
#include "devices/fd.h"
#include "devices/ioapic.h"
#include "devices/result.h"
#include "thimble/machine.h"
#include "vmm/linux_kvm.h"
#include "vmm/trace/tracer.h"

namespace thimble {

class Vcpu {
 public:
  static constexpr int kKickSignal = SIGUSR2;

  // Where exits go. All outlive the vCPU.
  struct Exits {
    const Bus& ports;
    const Bus& mmio;
    IoApic& ioapic;
    const Tracer* tracer = nullptr;  // hears of every exit
  };

  static Result<std::unique_ptr<Vcpu>> create(int vm, unsigned index, size_t run_size, Exits exits);
  ~Vcpu();
  Vcpu(const Vcpu&) = delete;
  Vcpu& operator=(const Vcpu&) = delete;

  [[nodiscard]] int fd() const { return fd_.get(); }

  // Enters KVM without entering the guest: what KVM makes when a VM runs for the first time (on
  // most hosts a thread that mends huge pages) is made then. On the thread that will call run().
  void warm_up();
  // Runs the guest on this thread until kick(), or until the guest can go on no more; in that case
  // the End says why.
  std::optional<End> run();
  // From any thread, any number of times. Once kicked, run() returns at once until rearm().
  void kick();
  // Completes what the last exit left half done: an IN whose value waits in the run area, the rest
  // of an access that was split. KVM does that at the next KVM_RUN, before it looks at
  // immediate_exit. After run() returned for a kick, on the same thread. An End as for run().
  std::optional<End> finish_exit();
  // That the thread in run() has used so far, the guest's with it; 0 while there is none. From any
  // thread.
  std::chrono::nanoseconds processor_time();
  // Takes back kick(). Not while run() or finish_exit() is active.
  void rearm();

 private:
  Vcpu(Fd fd, unsigned index, kvm_run* area, size_t area_size, Exits exits);
  [[nodiscard]] Result<void> let_kick_in();
  // One KVM_RUN and the handling of its exit; `left` tells that the guest was not entered, or was
  // left by a kick.
  std::optional<End> step(bool& left);
  std::optional<End> handle_exit();
  void handle_port();
  void handle_mmio();
  std::optional<End> handle_system_event() const;
  [[nodiscard]] End internal_error(const std::string& what) const;
  [[nodiscard]] std::string registers() const;

  Fd fd_;
  unsigned index_;
  kvm_run* area_;
  size_t area_size_;
  Exits exits_;
  std::atomic<bool> kicked_ = false;
  std::atomic<pthread_t> thread_ = 0;
  std::mutex thread_lock_;  // the thread cannot end between kick()'s look and its signal
};

}  // namespace thimble

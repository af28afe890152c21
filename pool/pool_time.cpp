// What time brings to a pool (pool.h), looked at once a second while there is anything to look at:
// warm VMs that take too long or do not answer, and templates that nobody claims any more.
#include "devices/text.h"
#include "pool/pool.h"

namespace thimble {

namespace {
constexpr std::chrono::seconds kTick{1};
// A look that comes so much later than it should means that this process was stopped (a frozen
// cgroup, SIGSTOP, a host that was suspended while its clock went on).
constexpr std::chrono::seconds kLate{2};
}  // namespace

void Pool::arm_tick() {
  if (tick_ || (templates_.empty() && vms_.empty())) return;
  tick_due_ = world_.now() + kTick;
  tick_ = world_.loop->after(kTick, [this] {
    tick_.reset();
    tick();
    arm_tick();
  });
}

void Pool::tick() {
  const auto now = world_.now();
  if (now - tick_due_ > kLate) forgive_silence(now);
  for (const auto& [id, vm] : vms_) tick_of(*vm, now);
  forget_unused(now);
}

// Nobody could be heard meanwhile: what was said is still unread, or could not be said.
void Pool::forgive_silence(Clock::time_point now) {
  for (const auto& [id, vm] : vms_) {
    vm->probed.reset();
    vm->heard_of = now;
    if (vm->state == State::kPreparing) vm->since = now;
  }
}

void Pool::tick_of(Vm& vm, Clock::time_point now) {
  if (vm.state == State::kPreparing && now - vm.since > limits_.prepare_timeout) {
    const auto timeout = std::chrono::ceil<std::chrono::seconds>(limits_.prepare_timeout);
    return warm_vm_failed(
        vm, text("it was not ready within %lld s", static_cast<long long>(timeout.count())));
  }
  if (vm.state != State::kReady) return;
  if (vm.probed && now - *vm.probed > limits_.probe_timeout) {
    log(text("a warm VM of template %s (pid %d) does not answer: replaced", vm.of->id.name.c_str(),
             static_cast<int>(vm.process.pid())));
    return discard(vm);
  }
  if (!vm.probed && now - vm.heard_of > limits_.probe_every) {
    vm.probed = now;
    vm.heard_of = now;
    // One that cannot be asked is found by the lack of an answer.
    [[maybe_unused]] auto asked = vm.process.ping(1);
  }
  // Made for a rush that is over.
  const bool spare = count(vm.of, State::kReady) > limits_.min_warm;
  if (spare && now - vm.since > limits_.idle) {
    vm.of->wanted = std::max(limits_.min_warm, vm.of->wanted - 1);
    discard(vm);
  }
}

void Pool::forget_unused(Clock::time_point now) {
  for (auto at = templates_.begin(); at != templates_.end();) {
    Template& of = *at->second;
    const bool used =
        !of.waiting.empty() || now - of.last_use < limits_.idle || count(&of, State::kClaimed) > 0;
    if (used) {
      ++at;
      continue;
    }
    of.wanted = 0;
    bool empty = true;
    for (const auto& [id, vm] : vms_) {
      if (vm->of != &of) continue;
      empty = false;
      if (vm->state != State::kDying) discard(*vm);
    }
    if (!empty) {
      ++at;
      continue;
    }
    if (of.refill) world_.loop->cancel(*of.refill);
    log("template " + of.id.name + " is not in use any more");
    at = templates_.erase(at);
  }
}

}  // namespace thimble

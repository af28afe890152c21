// A running machine: its threads and its end; see thimble/machine.h. assemble.cpp puts it together.
#include "thimble/machine.h"

#include <latch>
#include <optional>
#include <system_error>
#include <thread>

#include "vmm/parts.h"

namespace thimble {

Machine::Machine(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Machine::~Machine() = default;

namespace {

// The life of a vCPU's thread: in the guest, and parked while the machine is paused.
std::optional<End> run_vcpu(Vcpu& vcpu, PauseGate& gate) {
  for (;;) {
    auto end = vcpu.run();
    if (!end && gate.state() != PauseGate::State::kEnded) end = vcpu.finish_exit();
    if (end) return end;
    if (!gate.park()) return std::nullopt;
  }
}

}  // namespace

End Machine::run(const std::function<Result<void>()>& ready) {
  parts_->loop_thread.store(std::this_thread::get_id());
  std::vector<std::thread> threads;
  std::latch vcpus_stand(static_cast<ptrdiff_t>(parts_->vcpus.size()));
  const bool waits = ready != nullptr;
  if (waits && std::thread::hardware_concurrency() > 1) parts_->first_starts.look_on();
  for (const std::unique_ptr<Vcpu>& vcpu : parts_->vcpus) {
    StartSignal& start = threads.empty() ? parts_->first_starts : parts_->others_start;
    try {
      threads.emplace_back([this, &vcpus_stand, waits, &start, cpu = vcpu.get()] {
        parts_->prepare_thread(ThreadKind::kVcpu);
        if (waits) cpu->warm_up();
        vcpus_stand.count_down();
        start.wait();
        if (auto end = run_vcpu(*cpu, parts_->gate)) parts_->finish(std::move(*end));
      });
    } catch (const std::system_error& error) {
      parts_->finish({End::Kind::kHostError, std::string("start a thread: ") + error.what()});
      vcpus_stand.count_down(static_cast<ptrdiff_t>(parts_->vcpus.size() - threads.size()));
      break;
    }
  }
  if (waits) {
    vcpus_stand.wait();
    if (auto done = ready(); !done) parts_->finish({End::Kind::kHostError, done.error().message});
  }
  parts_->gate.start();
  parts_->prepare_thread(ThreadKind::kLoop);
  parts_->first_starts.give();
  parts_->others_start.give();
  if (auto served = parts_->loop->run(); !served) {
    parts_->finish({End::Kind::kHostError, served.error().message});
  }
  for (std::thread& thread : threads) thread.join();
  parts_->serial->flush();
  parts_->judge_end();
  const std::scoped_lock guard(parts_->end_lock);
  return parts_->end.value_or(End{End::Kind::kHostError, "the event loop ended by itself"});
}

// vCPUs first, then the devices: what a vCPU asked for last is in the rings by then, and nothing
// new comes. The loop's thread waits as well, so that no host socket changes guest memory.
Result<void> Machine::Parts::pause() {
  if (!gate.begin()) return fail(ErrorKind::kWrongState, "pause the machine: it does not run");
  for (const std::unique_ptr<Vcpu>& vcpu : vcpus) vcpu->kick();
  const auto count = static_cast<unsigned>(vcpus.size());
  bool there = gate.wait_for(count);
  if (there) {
    loop->post([this] {
      slots.drain();
      serial->flush();
      if (gate.park()) slots.kick();
    });
    there = gate.wait_for(count + 1) && gate.settled();
  }
  if (!there) return fail(ErrorKind::kWrongState, "pause the machine: it has ended");
  return {};
}

Result<void> Machine::Parts::resume() {
  const bool resumed = gate.open([this] {
    for (const std::unique_ptr<Vcpu>& vcpu : vcpus) {
      announce_pause(*vcpu);
      vcpu->rearm();
    }
  });
  if (!resumed) return fail(ErrorKind::kWrongState, "resume the machine: it is not paused");
  return {};
}

// A machine whose memory is reclaimed is woken: the loop has something to do then.
std::unique_lock<std::mutex> Machine::Parts::begin_operation() {
  std::unique_lock guard(operation, std::try_to_lock);
  if (!guard) {
    loop->post([] {});
    guard.lock();
  }
  return guard;
}

Result<void> Machine::pause() {
  if (parts_->loop_thread.load() == std::this_thread::get_id()) {
    return fail(ErrorKind::kWrongState, "pause the machine: not from its own callbacks");
  }
  const auto guard = parts_->begin_operation();
  return parts_->pause();
}

Result<void> Machine::resume() {
  const auto guard = parts_->begin_operation();
  return parts_->resume();
}

Result<void> Machine::save(int state_file, int memory_file) {
  const auto guard = parts_->begin_operation();
  const PauseGate::State state = parts_->gate.state();
  if (state != PauseGate::State::kPaused && state != PauseGate::State::kIdle) {
    return fail(ErrorKind::kWrongState, "save the machine: it is not paused");
  }
  return parts_->save(state_file, memory_file);
}

void Machine::stop() { parts_->finish({End::Kind::kStopped, "stopped by the host"}); }

size_t Machine::type(std::string_view bytes) {
  const size_t taken = parts_->serial->type(bytes);
  if (parts_->reclaiming.load()) parts_->loop->post([] {});
  return taken;
}

std::chrono::nanoseconds Machine::work() const {
  std::chrono::nanoseconds sum{};
  for (const std::unique_ptr<Vcpu>& vcpu : parts_->vcpus) sum += vcpu->processor_time();
  return sum;
}

void Machine::connect(uint32_t port, Fd stream) {
  if (!parts_->vsock) return;  // no vsock: the stream closes, as when the guest refuses
  // std::function copies; the descriptor must not be.
  auto shared = std::make_shared<Fd>(std::move(stream));
  parts_->loop->post([this, port, shared] { parts_->vsock->connect(port, std::move(*shared)); });
}

void Machine::opened(uint32_t port, Fd stream) {
  if (!parts_->vsock) return;
  auto shared = std::make_shared<Fd>(std::move(stream));
  parts_->loop->post([this, port, shared] { parts_->vsock->opened(port, std::move(*shared)); });
}

void Machine::change_generation() {
  if (!parts_->vmgenid) return;
  parts_->loop->post([this] {
    // A host without random bytes must not go on as if the guest had got new ones.
    if (auto done = parts_->vmgenid->change(); !done) {
      parts_->finish({End::Kind::kHostError, done.error().message});
    }
  });
}

// A machine that has ended runs no vCPU: kick() came before its run().
void Machine::Parts::prepare_thread(ThreadKind kind) {
  if (!options.on_thread) return;
  if (auto done = options.on_thread(kind); !done) {
    finish({End::Kind::kHostError, done.error().message});
  }
}

void Machine::Parts::finish(End reason) {
  {
    const std::scoped_lock guard(end_lock);
    if (!end) end = std::move(reason);
  }
  gate.end();
  for (const std::unique_ptr<Vcpu>& vcpu : vcpus) vcpu->kick();
  loop->stop();
}

void Machine::Parts::notice(const std::string& line) const {
  if (options.on_notice) options.on_notice(line);
}

}  // namespace thimble

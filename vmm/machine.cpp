// A running machine: its threads and its end; see thimble/machine.h. assemble.cpp puts it together.
#include "thimble/machine.h"

#include <latch>
#include <system_error>
#include <thread>

#include "vmm/parts.h"

namespace thimble {

Machine::Machine(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Machine::~Machine() = default;

End Machine::run() {
  std::vector<std::thread> threads;
  std::latch loop_is_ready(1);  // no guest instruction before
  for (const std::unique_ptr<Vcpu>& vcpu : parts_->vcpus) {
    try {
      threads.emplace_back([this, &loop_is_ready, cpu = vcpu.get()] {
        parts_->prepare_thread(ThreadKind::kVcpu);
        loop_is_ready.wait();
        if (auto end = cpu->run()) parts_->finish(std::move(*end));
      });
    } catch (const std::system_error& error) {
      parts_->finish({End::Kind::kHostError, std::string("start a thread: ") + error.what()});
      break;
    }
  }
  parts_->prepare_thread(ThreadKind::kLoop);
  loop_is_ready.count_down();
  if (auto served = parts_->loop->run(); !served) {
    parts_->finish({End::Kind::kHostError, served.error().message});
  }
  for (std::thread& thread : threads) thread.join();
  parts_->serial->flush();
  const std::scoped_lock guard(parts_->end_lock);
  return parts_->end.value_or(End{End::Kind::kHostError, "the event loop ended by itself"});
}

void Machine::stop() { parts_->finish({End::Kind::kStopped, "stopped by the host"}); }

void Machine::type(std::string_view bytes) { parts_->serial->type(bytes); }

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
  for (const std::unique_ptr<Vcpu>& vcpu : vcpus) vcpu->kick();
  loop->stop();
}

void Machine::Parts::notice(const std::string& line) const {
  if (options.on_notice) options.on_notice(line);
}

}  // namespace thimble

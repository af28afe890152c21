// A running machine: its threads and its end; see thimble/machine.h. assemble.cpp puts it together.
#include "thimble/machine.h"

#include <system_error>
#include <thread>

#include "vmm/parts.h"

namespace thimble {

Machine::Machine(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Machine::~Machine() = default;

End Machine::run() {
  std::vector<std::thread> threads;
  for (const std::unique_ptr<Vcpu>& vcpu : parts_->vcpus) {
    try {
      threads.emplace_back([this, cpu = vcpu.get()] {
        if (auto end = cpu->run()) parts_->finish(std::move(*end));
      });
    } catch (const std::system_error& error) {
      parts_->finish({End::Kind::kHostError, std::string("start a thread: ") + error.what()});
      break;
    }
  }
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

// Makes trace events (thimble/trace.h) out of exits, notifications and interrupts: knows which
// device and register an address belongs to.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "thimble/trace.h"
#include "vmm/linux_kvm.h"

namespace thimble {

class Tracer {
 public:
  // The name of the register at an offset into a device; empty when it has none.
  using RegisterName = std::string_view (*)(uint64_t offset, bool write);
  enum class Space : uint8_t { kPorts, kMmio };

  explicit Tracer(TraceHook hook) : hook_(std::move(hook)) {}

  // Before the machine runs.
  void name_range(Space space, uint64_t base, uint64_t size, std::string device,
                  RegisterName register_name);
  void name_pin(unsigned pin, std::string device);

  // An exit that has been handled: what was read is in the run area.
  void exit(unsigned vcpu, const kvm_run& area) const;
  // A vCPU was made to leave the guest.
  void signalled(unsigned vcpu) const;
  // A notification at `address`, the queue's index was written.
  void notify(uint64_t address, uint64_t queue) const;
  void interrupt(unsigned pin, bool masked) const;

 private:
  struct Range {
    Space space;
    uint64_t base;
    uint64_t size;
    std::string device;
    RegisterName register_name;
  };
  [[nodiscard]] TraceEvent start(TraceEvent::Kind kind, int vcpu) const;
  void name(TraceEvent& event, Space space, bool write) const;
  void port(TraceEvent event, const kvm_run& area) const;
  void mmio(TraceEvent event, const kvm_run& area) const;

  TraceHook hook_;
  std::chrono::steady_clock::time_point origin_ = std::chrono::steady_clock::now();
  std::vector<Range> ranges_;
  std::vector<std::string> pins_;
};

}  // namespace thimble

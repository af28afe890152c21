// What goes on between a guest and its machine, for people who work on kernels: one event for each
// exit to the VMM, for each queue notification and for each interrupt.
//
//   TraceSummary summary;
//   options.on_trace = [&](const TraceEvent& event) {
//     summary.add(event);
//     std::fputs(trace_line(event).c_str(), stderr);
//   };
//
// Tracing changes the timing of the guest, nothing else. A machine without on_trace does no work
// for it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace thimble {

struct TraceEvent {
  enum class Kind : uint8_t {
    kPortIn,   // IN
    kPortOut,  // OUT
    kMmioRead,
    kMmioWrite,
    kEoi,              // the guest ended the level-triggered interrupt `value`
    kSignalled,        // the guest was left because the host wants something of the vCPU
    kOtherExit,        // exit reason `value` of <linux/kvm.h>
    kNotify,           // the driver notified queue `value`; KVM passes it on without an exit
    kInterrupt,        // the device pulsed IOAPIC pin `value`
    kMaskedInterrupt,  // the same, and the guest has the pin masked: the pulse is lost
  };
  static constexpr int kNoVcpu = -1;

  uint64_t time_ns = 0;  // since the machine was made
  Kind kind = Kind::kOtherExit;
  int vcpu = kNoVcpu;
  uint64_t address = 0;     // port or guest physical address, for the first four kinds
  uint32_t size = 0;        // bytes of the access
  uint64_t value = 0;       // written, or read by the guest
  uint64_t rip = 0;         // the guest's instruction, or the one after it; 0: not known
  std::string_view device;  // "virtio-blk vda"; empty: nobody owns the address
  std::string_view reg;     // "QueueNotify"; empty: it has no name
};

using TraceHook = std::function<void(const TraceEvent&)>;

// One line, with its newline.
std::string trace_line(const TraceEvent& event);

// A number that KVM has counted.
struct KvmStatistic {
  std::string name;  // "halt_exits"
  uint64_t value = 0;
};

// Counts events. add() from any thread.
class TraceSummary {
 public:
  void add(const TraceEvent& event);
  // Tables: events by kind, accesses by device and register, interrupts by pin, KVM's own numbers
  // that are not zero.
  [[nodiscard]] std::string tables(const std::vector<KvmStatistic>& kvm) const;

 private:
  mutable std::mutex lock_;
  std::map<std::string, uint64_t> kinds_;
  std::map<std::string, uint64_t> accesses_;
  std::map<std::string, uint64_t> interrupts_;
};

}  // namespace thimble

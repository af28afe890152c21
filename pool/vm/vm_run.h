// A machine with the threads around it, from its making to its end. Threads: the one that calls
// run() is the event loop's; one more receives from the VM channel; one more serves the console's
// stream where there is one; each vCPU has its own (thimble/machine.h).
#pragma once

#include <latch>
#include <memory>
#include <optional>

#include "pool/vm/console_stream.h"
#include "pool/vm/console_tail.h"
#include "pool/vm/messengers.h"
#include "pool/vm/reclaim_plan.h"
#include "pool/vm/thread_filters.h"
#include "pool/vm/vm_channel.h"
#include "pool/vm/vm_channel_service.h"
#include "pool/vm/vm_spec.h"
#include "thimble/machine.h"
#include "thimble/snapshot.h"
#include "thimble/trace.h"

namespace thimble {

class VmRun {
 public:
  // `filter` may be null: the host has none.
  VmRun(VmSpec spec, int channel, const ThreadFilters* filter)
      : spec_(std::move(spec)),
        channel_(channel),
        filter_(filter),
        report_console_(spec_.report_console),
        tail_([this](const std::string& line) {
          if (!report_console_) return;
          send_vm_message(channel_, VmMessageType::kConsole, 0, line, -1, /*wait=*/false);
        }),
        messengers_(filter) {}

  // Makes the machine: boots it, or takes over a snapshot; a warm VM stops before that.
  Result<void> prepare();
  // The exit status.
  int run();

 private:
  [[nodiscard]] Result<void> make_machine();
  void start_messengers();
  [[nodiscard]] std::optional<ReclaimPlan> reclaim_plan() const;
  Result<void> take_claim();
  void report_end(const End& end) const;
  void finish(const End& end);

  VmSpec spec_;
  int channel_;
  const ThreadFilters* filter_;
  bool report_console_;  // the event loop's thread alone looks and changes it
  ConsoleTail tail_;
  bool announced_ = false;
  std::unique_ptr<ConsoleStream> console_;
  TraceSummary summary_;
  std::unique_ptr<Machine> machine_;
  std::shared_ptr<const Snapshot> template_to_claim_;
  std::latch may_serve_{1};  // the VM channel is read by one thread at a time: a warm VM's first
  Messengers messengers_;
  WarmVmEnd warm_vm_;
};

// One line for a person about a machine that ended with `end`, given what its console showed.
std::string explain_end(const End& end, const ConsoleTail& tail);

}  // namespace thimble

// See vm_trace.h.
#include "pool/vm/vm_trace.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <string_view>

namespace thimble {

namespace {

// From several threads at once: one write for each line, so that lines stay whole.
void write_trace(int file, std::string_view line) {
  while (!line.empty()) {
    const ssize_t n = ::write(file, line.data(), line.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // a full disk or a closed pipe ends the trace, not the guest
    line.remove_prefix(static_cast<size_t>(n));
  }
}

// The process may not make a file larger than its limits allow, so lines end in time.
constexpr uint64_t kMaxTraceBytes = uint64_t{64} << 20;

}  // namespace

void join_trace(VmSpec& spec, TraceSummary& summary) {
  if (!spec.trace) return;
  auto written = std::make_shared<std::atomic<uint64_t>>(0);
  spec.machine.on_trace = [&summary, written, file = spec.trace.get()](const TraceEvent& event) {
    summary.add(event);
    const std::string line = trace_line(event);
    const uint64_t before = written->fetch_add(line.size());
    if (before >= kMaxTraceBytes) return;
    write_trace(file, line);
    if (before + line.size() >= kMaxTraceBytes) {
      write_trace(file, "(64 MiB of lines: the rest is only counted)\n");
    }
  };
}

void finish_trace(const VmSpec& spec, const TraceSummary& summary, Machine& machine) {
  if (spec.trace) write_trace(spec.trace.get(), summary.tables(machine.kvm_statistics()));
}

}  // namespace thimble

// Lines and tables of a trace; see thimble/trace.h.
#include <algorithm>

#include "devices/text.h"
#include "thimble/trace.h"

namespace thimble {

namespace {

using Kind = TraceEvent::Kind;

const char* word(Kind kind) {
  switch (kind) {
    case Kind::kPortIn:
      return "in";
    case Kind::kPortOut:
      return "out";
    case Kind::kMmioRead:
      return "read";
    case Kind::kMmioWrite:
      return "write";
    case Kind::kEoi:
      return "eoi";
    case Kind::kSignalled:
      return "signalled";
    case Kind::kOtherExit:
      return "exit";
    case Kind::kNotify:
      return "notify";
    case Kind::kInterrupt:
      return "irq";
    case Kind::kMaskedInterrupt:
      return "irq-masked";
  }
  return "?";
}

bool is_access(Kind kind) {
  return kind == Kind::kPortIn || kind == Kind::kPortOut || kind == Kind::kMmioRead ||
         kind == Kind::kMmioWrite;
}

// "virtio-blk vda QueueNotify"; an address that nobody owns stands for itself.
std::string place(const TraceEvent& event) {
  std::string out(event.device);
  if (out.empty()) out = text("nobody at %#lx", event.address);
  if (!event.reg.empty()) out += " " + std::string(event.reg);
  return out;
}

std::string details(const TraceEvent& event) {
  if (is_access(event.kind)) {
    return text("%#lx/%u = %#lx  %s", event.address, event.size, event.value, place(event).c_str());
  }
  switch (event.kind) {
    case Kind::kNotify:
      return text("queue %lu  %s", event.value, place(event).c_str());
    case Kind::kInterrupt:
    case Kind::kMaskedInterrupt:
      return text("pin %lu  %s", event.value, std::string(event.device).c_str());
    case Kind::kEoi:
      return text("vector %lu", event.value);
    case Kind::kOtherExit:
      return text("reason %lu", event.value);
    default:
      return "";
  }
}

std::string table(const char* title, const std::map<std::string, uint64_t>& counts) {
  if (counts.empty()) return "";
  std::vector<std::pair<std::string, uint64_t>> rows(counts.begin(), counts.end());
  std::ranges::stable_sort(rows, std::greater<>(), [](const auto& row) { return row.second; });
  std::string out = text("\n%s\n", title);
  for (const auto& [name, count] : rows) out += text("  %10lu  %s\n", count, name.c_str());
  return out;
}

}  // namespace

std::string trace_line(const TraceEvent& event) {
  const std::string who = event.vcpu == TraceEvent::kNoVcpu ? "-" : text("cpu%d", event.vcpu);
  std::string out =
      text("[%5lu.%06lu] %-4s %-9s %s", event.time_ns / 1000000000, event.time_ns / 1000 % 1000000,
           who.c_str(), word(event.kind), details(event).c_str());
  if (event.rip != 0) out += text("  rip %#lx", event.rip);
  out += '\n';
  return out;
}

void TraceSummary::add(const TraceEvent& event) {
  const std::scoped_lock guard(lock_);
  ++kinds_[word(event.kind)];
  if (is_access(event.kind) || event.kind == Kind::kNotify) {
    ++accesses_[text("%-6s %s", word(event.kind), place(event).c_str())];
  } else if (event.kind == Kind::kInterrupt || event.kind == Kind::kMaskedInterrupt) {
    ++interrupts_[text("%-10s pin %2lu  %s", word(event.kind), event.value,
                       std::string(event.device).c_str())];
  }
}

std::string TraceSummary::tables(const std::vector<KvmStatistic>& kvm) const {
  const std::scoped_lock guard(lock_);
  std::map<std::string, uint64_t> counted;
  for (const KvmStatistic& statistic : kvm) {
    if (statistic.value != 0) counted[statistic.name] += statistic.value;
  }
  return table("events by kind", kinds_) + table("accesses by device and register", accesses_) +
         table("interrupts by pin", interrupts_) +
         table("counted by KVM, all vCPUs together", counted);
}

}  // namespace thimble
